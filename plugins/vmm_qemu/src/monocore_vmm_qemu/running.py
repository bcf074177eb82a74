"""One life of QEMU: its process, its monitor, its pipes, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

from monocore_core.concurrency import together
from monocore_core.errors import MachineError
from monocore_core.model.machine import MachineExit
from monocore_core.model.security import Layer
from monocore_core.vmmkit.console import ConsolePump, LastWords
from monocore_core.vmmkit.jsontext import Json, at
from monocore_core.vmmkit.process import Process
from monocore_core.vmmkit.qmp import Message, Qmp
from monocore_vmm_qemu import sockets
from monocore_vmm_qemu.command import AGENT_ID
from monocore_vmm_qemu.ending import Evidence, classify, panic_of
from monocore_vmm_qemu.shares import ShareServer

#: Seconds for the monitor to be closed after the process has ended.
_DRAIN = 1.0
#: Seconds for the monitor to answer, and for a copy to run, on a host that is very busy.
_GREETING = 15.0
#: Leaves RAM that is a file out of the state.
IGNORE_SHARED: Mapping[str, Json] = {"capability": "x-ignore-shared", "state": True}
#: Seconds that the agent's port may be closed after it was open. A kernel that is halted, or switched off where the machine has no switch, resets
#: its devices, and its processors then stand still for good, of which QEMU says nothing more.
_HALTED = 2.0
_NO_MEMORY = "cannot allocate memory"


@define(eq=False)
class Running:
    """A QEMU process that has greeted. ``ended`` is done when it is over and everything is released; ``settled``: its guest was set up before it was taken."""

    process: Process
    console: ConsolePump
    words: LastWords
    folder: Path
    kvm: bool
    shares: ShareServer | None = None
    layers: frozenset[Layer] = frozenset()
    qmp: Qmp | None = None
    reason: str = ""
    ours: bool = False
    settled: bool = False
    agent_open: asyncio.Event = field(factory=asyncio.Event)
    ended: asyncio.Task[MachineExit] = field(init=False)
    _resumed: asyncio.Event = field(init=False, factory=asyncio.Event)
    _closed: asyncio.TimerHandle | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.ended = asyncio.create_task(self._watch())

    async def greet(self, state: int | None = None) -> None:
        """Open the monitor and learn whether the agent's port is open.

        Args:
            state: descriptor, of QEMU's, of the state that it waits for: it has it and runs on our return.

        Raises:
            MachineError: QEMU ended before it could serve, with its last words, or does not answer.
        """
        opening = asyncio.create_task(self._open_monitor() if state is None else self._resume(state))
        try:
            await asyncio.wait((opening, self.ended), timeout=_GREETING, return_when=asyncio.FIRST_COMPLETED)
            if opening.done() and opening.exception() is None:
                return
            # a monitor that closes at once is the first sign of a process that is ending
            await asyncio.wait([self.ended], timeout=_DRAIN if opening.done() else 0)
        finally:
            opening.cancel()
            await asyncio.wait([opening])
        if self.ended.done():
            raise failure(self.ended.result())
        problem = opening.exception() if opening.done() and not opening.cancelled() else None
        what = f"fails on its monitor: {problem}" if problem else "does not answer on its monitor"
        raise MachineError(f"QEMU (process {self.process.pid}) {what}") from problem

    async def end(self, grace: float) -> MachineExit:
        """Ask QEMU to quit, then terminate it at half of ``grace`` seconds, then kill it. Cancellation: it is killed."""
        if not self.ended.done():
            self.ours = True
        try:
            if grace > 0:
                await self._quit(grace / 2)
                await self._within(grace / 2, signal.SIGTERM)
        finally:
            self.process.signal(signal.SIGKILL)
        return await asyncio.shield(self.ended)

    async def release(self) -> None:
        """Let the machine run on without us. A repeat does nothing."""
        self.ended.cancel()
        await asyncio.wait([self.ended])
        self.console.close()
        self.words.close()
        self.process.release()
        if self.shares is not None:
            self.shares.release()

    async def _open_monitor(self) -> None:
        self.qmp = await Qmp.open(sockets.connect(self.folder, sockets.QMP_SOCKET), self._on_event)
        devices = await self.qmp.execute("query-chardev")
        for device in devices if isinstance(devices, list) else ():
            if at(device, "label") == AGENT_ID and at(device, "frontend-open") is True:
                self.agent_open.set()

    async def _resume(self, state: int) -> None:
        """Have a copy take the state up. QEMU ends where it cannot."""
        self.qmp = await Qmp.open(sockets.connect(self.folder, sockets.QMP_SOCKET), self._on_event)
        await together(
            self.qmp.execute("migrate-set-capabilities", {"capabilities": [dict(IGNORE_SHARED)]}),
            self.qmp.execute("migrate-incoming", {"uri": f"fd:{state}"}),
            self._resumed.wait(),
        )
        self.agent_open.set()  # as it was when the template was captured

    def _opened(self, now: bool) -> None:
        """The agent's port was opened, or closed: by a guest that ends, which QEMU may not."""
        if self._closed is not None:
            self._closed.cancel()
            self._closed = None
        if now:
            self.agent_open.set()
        elif self.agent_open.is_set():
            self.agent_open.clear()
            self._closed = asyncio.get_running_loop().call_later(_HALTED, self._halted)

    def _halted(self) -> None:
        if not self.ended.done():
            self.reason = self.reason or "guest-halt"
            self.process.signal(signal.SIGTERM)

    def _on_event(self, event: Message) -> None:
        match event.get("event"):
            case "RESUME":
                self._resumed.set()
            case "SHUTDOWN":
                self.reason = self.reason or str(at(event, "data", "reason"))[:64]
            case "VSERPORT_CHANGE" if at(event, "data", "id") == AGENT_ID:
                self._opened(at(event, "data", "open") is True)
            case _:
                return

    async def _quit(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError, MachineError):
            async with asyncio.timeout(seconds):
                if self.qmp is not None:
                    await self.qmp.execute("quit")
                    await self.process.wait()

    async def _within(self, seconds: float, number: signal.Signals) -> None:
        self.process.signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.process.wait()

    async def _served(self) -> str | None:
        """Wait for QEMU's end. Without its folders it is useless, so it is ended when their server ends before it.

        Returns:
            What the server said then, or what its jail did to it, else None.
        """
        if self.shares is None:
            await self.process.wait()
            return None
        server, qemu = asyncio.create_task(self.shares.ended()), asyncio.create_task(self.process.wait())
        try:
            await asyncio.wait((server, qemu), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((qemu,), timeout=0 if qemu.done() else _DRAIN)
            if qemu.done():
                return self.shares.violation()
            self.process.signal(signal.SIGKILL)
            await self.process.wait()
            return server.result()
        finally:
            server.cancel()
            qemu.cancel()
            if self.process.ended:
                await self.shares.close()

    async def _watch(self) -> MachineExit:
        try:
            shares = await self._served()
            if self.qmp is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN):
                        await self.qmp.drained()
            words = self.words.last_line()
            panic = panic_of(self.console.tail(16384))
            self.console.close()
            self.words.close()
            sockets.remove(self.folder)
            return classify(Evidence(self.process.status, self.reason, self.ours, words, panic, shares))
        finally:
            if self._closed is not None:
                self._closed.cancel()
            if self.qmp is not None:
                await self.qmp.aclose()


def failure(end: MachineExit) -> MachineError:
    """The end of a machine that should have run, as an error."""
    hint = "give the sandbox less memory" if _NO_MEMORY in end.detail.lower() else None
    return MachineError(f"the machine ended at once: {end.detail}", hint=hint)
