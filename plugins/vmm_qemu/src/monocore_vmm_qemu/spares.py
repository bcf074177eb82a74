"""Spares: copies of templates that wait, stopped, for a machine that needs one.

A spare has files of its own for disks, with nothing of anybody's, and belongs to nobody. It is a process of its own session, so that it can become a machine that outlives us;
what keeps it from being left behind is its folder::

    <folder>/<owner>.lock          held for as long as the process lives that made the spares
    <folder>/<owner>/<number>/     sockets, placeholders and console of one spare

Whoever finds an owner's lock free ends what that one left, found by its name on the command line, which is there before anything is written
down. A spare that is taken is written down under its machine's key before its folder goes: at no time does nobody know of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from attrs import define, evolve, field, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import MachineError, MonocoreError, StorageError
from monocore_core.interfaces.vmm import Greeter
from monocore_core.keyed.locks import take
from monocore_core.model.machine import MachineSpec, Spare
from monocore_core.model.network import NoNetwork
from monocore_core.vmmkit.channel import SocketChannel
from monocore_core.vmmkit.guestkernel import Kernel
from monocore_core.vmmkit.qmp import Qmp
from monocore_vmm_qemu import sockets
from monocore_vmm_qemu.capture import calm, clear, move, placeholders
from monocore_vmm_qemu.command import Facts
from monocore_vmm_qemu.image import Captured
from monocore_vmm_qemu.named import end_named
from monocore_vmm_qemu.records import Records
from monocore_vmm_qemu.running import Running
from monocore_vmm_qemu.shape import template_of
from monocore_vmm_qemu.swap import Laid, give_back, laid_for, lay, swap, unswappable
from monocore_vmm_qemu.templates import Start

_NAME = "spare"
#: Seconds for a spare to become a machine, which takes a hundredth of one, on a host that is very busy.
_TAKING = 10.0


def unfit(spec: MachineSpec) -> str | None:
    """Why no spare serves a machine, or None. Pure."""
    if spec.foreground:
        return "it is to end with the process that starts it"
    if not isinstance(spec.attachment, NoNetwork):
        return "its network device leads where it leads from its start"
    return unswappable(spec)


@frozen
class Source:
    """What spares are copies of.

    Attributes:
        shape: of the template.
        image: the template.
        stub: what copies have for a kernel.
    """

    shape: str
    image: Captured
    stub: Kernel


@frozen(eq=False)
class _Waiting:
    """A spare, its process, its specification, and which disks lie below its devices already."""

    spare: Spare
    spec: MachineSpec
    running: Running
    laid: dict[int, Laid] = field(factory=dict[int, Laid])

    def serves(self, spec: MachineSpec) -> bool:
        """Whether it can become a machine; what it was set up with must be there still, and nothing else."""
        return not self.spare.role or laid_for(spec, self.laid)


@define(eq=False)
class Spares:
    """The spares of one backend.

    Attributes:
        folder: made when needed.
        records: of running machines.
    """

    folder: Path
    records: Records
    _owner: str = field(init=False, factory=lambda: secrets.token_hex(4))
    _lock: int | None = field(init=False, default=None)
    _count: int = field(init=False, default=0)
    _waiting: dict[str, deque[_Waiting]] = field(init=False, factory=dict[str, "deque[_Waiting]"])

    def all(self) -> tuple[Spare, ...]:
        """Those that wait."""
        return tuple(
            one.spare for row in self._waiting.values() for one in row if not one.running.ended.done()
        )

    async def add(self, source: Source, start: Start, greet: Greeter, settle: Greeter | None = None) -> Spare:
        """Start a copy, let its agent answer, and stop it. See :meth:`.StockingVmm.stock`.

        Raises:
            MachineError, DeadlineExceeded, GuestError: it did not start, or its agent did not answer.
            StorageError: it could not be given its files.
        """
        spec = await in_thread(lambda: self._make(start.spec))
        try:
            launcher = evolve(start.launcher, changing=True)
            running = await launcher.launch(spec, source.stub, kvm=start.kvm, image=source.image)
        except BaseException:
            clear(spec.directory)
            raise
        role = start.spec.role if settle is not None else ""
        waiting = _Waiting(Spare(spec.key, source.shape, running.process.pid, role), spec, running)
        try:
            await _spoken(waiting, greet)
            await _stop(waiting, start)
            if settle is not None:
                await _settled(waiting, start, settle)
        except BaseException:
            await self._end(waiting)
            raise
        self._waiting.setdefault(source.shape, deque()).append(waiting)
        return waiting.spare

    async def take(self, shape: str, start: Start) -> Running | None:
        """Make a spare the machine that is started, which runs on return; None when there is none.

        One of its role goes before one that has none. One that fails is ended, and so is one whose taking is cancelled.

        Raises:
            MachineError: every one that there was failed; the last one's reason.
        """
        spec, row = start.spec, self._waiting.setdefault(shape, deque())
        failure: MachineError | None = None
        while (waiting := _best(row, spec.role)) is not None:
            row.remove(waiting)
            if waiting.running.ended.done() or not waiting.serves(spec):
                await self._end(waiting)
                continue
            try:
                async with asyncio.timeout(_TAKING):
                    await self._become(waiting, start)
            except (MonocoreError, OSError) as error:
                await self._end(waiting)
                self.records.remove(spec.key)
                late = f"it did not answer within {_TAKING:g} s" if isinstance(error, TimeoutError) else error
                failure = error if isinstance(error, MachineError) else MachineError(f"a spare: {late}")
                continue
            except BaseException:
                await self._end(waiting)
                self.records.remove(spec.key)
                raise
            waiting.running.settled = bool(waiting.spare.role)
            return waiting.running
        if failure is not None:
            raise failure
        return None

    async def end(self, name: str) -> None:
        """End a spare. An unknown one is not an error: it was taken, or has ended."""
        for row in self._waiting.values():
            for waiting in [one for one in row if one.spare.id == name]:
                row.remove(waiting)
                await self._end(waiting)

    async def aclose(self) -> None:
        """End all of them. A repeat does nothing."""
        for row in self._waiting.values():
            while row:
                await self._end(row.popleft())
        if self._lock is not None:
            clear(self.folder / self._owner)
            _lock_of(self.folder, self._owner).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def sweep(self) -> None:
        """End the spares of processes that are gone, and remove what they have left."""
        for path in self.folder.glob("*.lock"):
            owner = path.stem
            try:
                lock = take(path)
            except OSError:
                continue
            if lock is None:
                continue
            with contextlib.suppress(OSError):
                # one that was taken keeps its name, and has no folder any more
                names = [_key(owner, folder.name) for folder in (self.folder / owner).glob("*")]
                end_named(names)
                for name in names:
                    self.records.remove(name)
                clear(self.folder / owner)
                path.unlink()
            os.close(lock)

    async def _become(self, waiting: _Waiting, start: Start) -> None:
        running, spec = waiting.running, start.spec
        record = self.records.read(waiting.spec.key)
        if record is None or running.qmp is None:
            raise MachineError("a spare's record or monitor is gone")
        self.records.write(spec.key, record)
        for name in (sockets.AGENT_SOCKET, sockets.QMP_SOCKET):
            (waiting.spec.directory / name).replace(spec.directory / name)
        running.folder = spec.directory
        running.console.move(spec.console)
        others = await swap(running.qmp, spec, await _facts(start), waiting.laid)
        await running.qmp.execute("cont")
        await give_back(running.qmp, others)
        self.records.remove(waiting.spec.key)
        clear(waiting.spec.directory)

    async def _end(self, waiting: _Waiting) -> None:
        await waiting.running.end(0)
        self.records.remove(waiting.spec.key)
        clear(waiting.spec.directory)

    def _make(self, spec: MachineSpec) -> MachineSpec:
        """A spare's specification, with its folder and placeholders.

        Raises:
            StorageError: they could not be made.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._lock is None:
                self._lock = take(_lock_of(self.folder, self._owner))
            self._count += 1
            folder = self.folder / self._owner / str(self._count)
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        made = evolve(template_of(spec, folder, _key(self._owner, folder.name)), foreground=False)
        try:
            placeholders(made, rehearsing=True)
        except BaseException:
            clear(folder)
            raise
        return made


async def _facts(start: Start) -> Facts:
    return await start.launcher.facts(start.spec, start.kernel, kvm=start.kvm)


def _best(row: Iterable[_Waiting], role: str) -> _Waiting | None:
    """The first of a role, or the first that has none."""
    fitting = [waiting for waiting in row if waiting.spare.role in ("", role)]
    return next((one for one in fitting if one.spare.role == role), fitting[0] if fitting else None)


async def _spoken(waiting: _Waiting, greet: Greeter) -> None:
    """Let somebody speak with its agent, and wait until nothing of that is at work any more."""
    await greet(
        SocketChannel(sockets.connect(waiting.spec.directory, sockets.AGENT_SOCKET), waiting.spec.key)
    )
    await calm(waiting.running.process.pid)


async def _stop(waiting: _Waiting, start: Start) -> None:
    """Stop it, with word for its guest that its disks have changed, which it hears when it runs again; and lay what the next one may want."""
    qmp = _monitor(waiting)
    await qmp.execute("stop")
    for number, disk in enumerate(waiting.spec.disks, start=1):
        await move(qmp, f"disk{number}", readonly=disk.readonly)
    waiting.laid.update(await lay(qmp, start.spec, await _facts(start)))


async def _settled(waiting: _Waiting, start: Start, settle: Greeter) -> None:
    """Have its guest, which has the disks, set up, and stop it again.

    Raises:
        MachineError: a disk has gone since.
    """
    if not laid_for(start.spec, waiting.laid):
        raise MachineError("a disk of the machine that a spare is to serve is gone")
    qmp = _monitor(waiting)
    await qmp.execute("cont")
    await _spoken(waiting, settle)
    await qmp.execute("stop")


def _monitor(waiting: _Waiting) -> Qmp:
    if waiting.running.qmp is None:
        raise MachineError("a spare's monitor is closed")
    return waiting.running.qmp


def _key(owner: str, number: str) -> str:
    return f"{_NAME}-{owner}-{number}"


def _lock_of(folder: Path, owner: str) -> Path:
    return folder / f"{owner}.lock"
