"""A home with a neighbour who does no harm, sandboxes whose agent does, and what the host may be made to spend on them."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import pytest
from attrs import define, evolve, field

import monocore_core.assembly
from monocore_core.guest.bootdisk import boot_disk
from monocore_core.guest.client import Guest
from monocore_core.logs import LogLimits
from monocore_core.model.machine import MachineSpec
from monocore_core.model.record import EndReason, SandboxOrder
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.plan.compose import Parts, machine_spec
from monocore_core.runtime.life import Life
from monocore_core.runtime.lives import Attach
from monocore_core.runtime.sandboxes import Sandboxes

NEIGHBOUR = "neighbour"
#: What the process of the daemon may take more than before, of memory, and the longest that it may do nothing for others.
MEMORY, PAUSE = 64 * MIB, 2.0
#: What one sandbox's log and console may take, with a segment that is being written beside those that count.
LOGS = LogLimits(segment_bytes=1 << 16, sandbox_bytes=1 << 18)
CONSOLE = 1 << 16
#: Seconds in which a sandbox can be removed, and the neighbour answers, on a machine with much else to do.
REMOVED, ANSWERED = 10.0, 20.0


_MODE = ContextVar("mode", default="")
_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


def children() -> set[int]:
    """Processes that are ours, of whichever thread."""
    return {
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


@define
class World:
    """One daemon's worth of sandboxes.

    Attributes:
        sandboxes: with the neighbour.
        home: theirs.
        image: which they run.
        disk: makes the boot disk of an agent with that mode.
        problems: what went wrong where nobody waited for it.
        others: processes of ours before the first attack: the neighbour's, and those of other tests' fixtures.
    """

    sandboxes: Sandboxes
    home: Path
    image: str
    disk: Callable[[str], Path]
    problems: list[str] = field(factory=list[str])
    others: set[int] = field(factory=children)

    async def begin(
        self,
        mode: str,
        *command: str,
        boot_timeout: float = 60,
        disk: int | None = None,
        attach: Attach | None = None,
        words: tuple[str, ...] = (),
    ) -> Life:
        """Start a sandbox whose agent means harm, in the way of that mode; without one the real agent, with these words for its kernel."""
        request = SandboxRequest(
            self.image, pull=PullPolicy.NEVER, memory=96 * MIB, boot_timeout=boot_timeout, disk=disk
        )
        order = SandboxOrder(request, CommandRequest(args=command) if command else None)
        record = self.sandboxes.create(order)
        before, said = _MODE.set(mode), _WORDS.set(words)
        try:
            return await self.sandboxes.start(record.id, attach=attach)
        finally:
            _MODE.reset(before)
            _WORDS.reset(said)

    @contextmanager
    def boots(self) -> Generator[None]:
        """Machines boot from the agent's disk of the mode, and with the words, that :meth:`begin` says; others from the real one, with none."""

        def choose(architecture: str, cache: Path) -> Path:
            return self.disk(mode) if (mode := _MODE.get()) else boot_disk(architecture, cache)

        def told(request: SandboxRequest, parts: Parts) -> MachineSpec:
            spec = machine_spec(request, parts)
            return evolve(spec, cmdline=(*spec.cmdline, *_WORDS.get()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(monocore_core.assembly, "boot_disk", choose)
            patch.setattr(monocore_core.assembly, "machine_spec", told)
            yield

    async def well(self) -> None:
        """The neighbour answers."""
        async with asyncio.timeout(ANSWERED):
            process = await self.sandboxes.exec(NEIGHBOUR, CommandRequest(args=("echo", "well")))
            assert await process.stdout.read() == b"well\n"
            assert (await process.wait()).code == 0

    async def kill(self, life: Life) -> None:
        """By force, in two seconds and what ending a machine takes on a machine with much else to do."""
        began = time.monotonic()
        end = await self.sandboxes.stop(life.record.id, 0)
        assert time.monotonic() - began < REMOVED
        assert (end.code, end.reason) == (137, EndReason.KILLED)

    async def clear(self) -> None:
        """Remove every sandbox but the neighbour, which leaves nothing of them."""
        for record in self.sandboxes.all():
            if record.name != NEIGHBOUR:
                async with asyncio.timeout(REMOVED):
                    await self.sandboxes.remove(record.id, force=True)
        neighbour = self.sandboxes.get(NEIGHBOUR)
        store = (await self.sandboxes.engines.base()).store
        assert [path.name for path in store.layout.sandboxes.iterdir()] == [neighbour.id]
        assert [lease.key for lease in store.leases()] == [neighbour.id]
        assert self.sandboxes.logs.keys() == [neighbour.id]
        assert children() <= self.others
        assert neighbour.pid in children()
        gc.collect()  # what nobody has asked for is told when it goes
        assert self.problems == []

    @asynccontextmanager
    async def bounded(self) -> AsyncGenerator[None]:
        """Whatever is done in the block takes of the host what it may, and no more, and leaves the neighbour alone."""
        before = forget_peak()
        beating = asyncio.create_task(self._beat())
        try:
            yield
            await self.well()
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        assert peak() - before < MEMORY, "memory"
        assert beating.result() < PAUSE, "others had to wait"
        assert self.problems == []

    async def _beat(self) -> float:
        """Look at what grows, for as long as it may; gives the longest time that the loop did not come back to us."""
        longest, last = 0.0, time.monotonic()
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(0.02)
                now = time.monotonic()
                longest, last = max(longest, now - last), now
                self._check_disk()
        return longest

    def _check_disk(self) -> None:
        for folder in (self.home / "logs").iterdir():
            assert sum(sizes(folder, "*.log")) <= LOGS.sandbox_bytes + 2 * LOGS.segment_bytes, "log"
        assert max(sizes(self.home / "sandboxes", "*/console.log"), default=0) <= CONSOLE, "console"


@asynccontextmanager
async def session(life: Life, *, timeout: float = 10) -> AsyncGenerator[Guest]:  # noqa: ASYNC109 - the handshake's
    """A further session with a sandbox's agent, as a daemon that comes back begins one; the one before is over."""
    guest = await Guest.open(await life.sandbox.machine.connect(), timeout=timeout)
    try:
        yield guest
    finally:
        await guest.aclose()


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Look again and again, until something is so."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what files and guests do is no event of ours
            await asyncio.sleep(0.02)


def sizes(folder: Path, names: str) -> list[int]:
    """Bytes of a folder's files of these names, those left out that go meanwhile."""
    found: list[int] = []
    for path in folder.glob(names):
        with suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


def forget_peak() -> int:
    """What this process has in memory now, bytes; :func:`peak` counts from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most that this process had in memory."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
