"""A machine, as the core sees it: one life of QEMU, or two when the first was a trial of KVM that failed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from monocore_core.errors import DeadlineExceeded, MachineError, MonocoreError
from monocore_core.model.machine import MachineEnd, MachineExit, MachineSpec
from monocore_core.model.security import Layer
from monocore_core.vmmkit.channel import SocketChannel
from monocore_vmm_qemu import sockets
from monocore_vmm_qemu.accel import Trust
from monocore_vmm_qemu.running import Running
from monocore_vmm_qemu.snapshot import QemuSnapshot, take

#: Seconds until a queue that was full is tried again.
_QUEUE_PAUSE = 0.01
#: Seconds until QEMU must have looked at its queue, on a host that is very busy.
_QUEUE_PATIENCE = 15.0
#: Seconds for the monitor to stop the processors, on a host that is very busy.
_MONITOR = 15.0
Relaunch = Callable[[], Awaitable[Running]]
Verdict = Callable[[Trust], None]
Shape = Callable[[MachineSpec, bool], Awaitable[tuple[str, Path]]]


class QemuMachine:
    """See :class:`~monocore_core.interfaces.vmm.Machine`.

    Args:
        spec: what runs.
        running: the process.
        shape: gives the shape of a machine, under KVM or not, if it were started now, and the QEMU that would run it.
    """

    def __init__(self, spec: MachineSpec, running: Running, shape: Shape) -> None:
        self._spec = spec
        self._running = running
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + spec.boot_timeout
        self._shape = shape
        self._channel: SocketChannel | None = None
        self._trial: asyncio.Task[None] | None = None

    def described(self, spec: MachineSpec) -> None:
        """Of a machine that was found: how it would be started now, which whoever found it may not have known at once."""
        self._spec = spec

    @property
    def key(self) -> str:
        """See the protocol."""
        return self._spec.key

    @property
    def pid(self) -> int:
        """See the protocol."""
        return self._running.process.pid

    @property
    def kvm(self) -> bool:
        """Whether it runs under KVM."""
        return self._running.kvm

    @property
    def layers(self) -> frozenset[Layer]:
        """See :class:`~monocore_core.interfaces.vmm.Confined`."""
        return self._running.layers

    @property
    def settled(self) -> bool:
        """See :class:`~monocore_core.interfaces.vmm.Settled`."""
        return self._running.settled

    @property
    def foreground(self) -> bool:
        """Whether it must not outlive this process."""
        return self._spec.foreground

    def try_kvm(self, seconds: float, relaunch: Relaunch, verdict: Verdict) -> None:
        """Watch whether the agent reports within ``seconds``; if not, end QEMU and go on with ``relaunch``."""
        self._trial = asyncio.create_task(self._prove(seconds, relaunch, verdict))

    async def connect(self) -> SocketChannel:
        """See the protocol."""
        if self._channel is not None:
            await self._channel.aclose()
            self._channel = None
        await self._tried()
        running = self._running
        if running.ended.done():
            raise self._ended(running.ended.result())
        # connected before the agent listens: it then finds a host at its first look
        channel = SocketChannel(await self._dial(running), self.key)
        try:
            await self._agent(running)
        except BaseException:
            await channel.aclose()
            raise
        self._channel = channel
        return channel

    async def wait(self) -> MachineExit:
        """See the protocol."""
        while True:
            await self._tried()
            running = self._running
            end = await asyncio.shield(running.ended)
            if running is self._running and (self._trial is None or self._trial.done()):
                return end

    async def stop(self, grace: float) -> MachineExit:
        """See the protocol."""
        await self._abandon_trial()
        try:
            return await self._running.end(grace)
        finally:
            await self._close_channel()

    async def kill(self) -> MachineExit:
        """See the protocol."""
        return await self.stop(0)

    async def pause(self) -> None:
        """See the protocol."""
        await self._command("stop")

    async def resume(self) -> None:
        """See the protocol."""
        await self._command("cont")

    async def snapshot(self) -> QemuSnapshot:
        """See :class:`~monocore_core.interfaces.vmm.SnapshotMachine`."""
        await self._tried()
        shape, binary = await self._shape(self._spec, self._running.kvm)
        return await take(self._spec, self._running, shape, binary)

    async def _command(self, word: str) -> None:
        """Have QEMU's monitor do something that is done when it answers."""
        await self._tried()
        running = self._running
        if running.ended.done() or running.qmp is None:
            raise MachineError(f"machine {self.key} has ended")
        try:
            async with asyncio.timeout(_MONITOR):
                await running.qmp.execute(word)
        except TimeoutError:
            raise MachineError(f"machine {self.key}: QEMU's monitor does not answer ({word})") from None

    async def release(self) -> None:
        """Let it run on without us."""
        await self._abandon_trial()
        await self._close_channel()
        await self._running.release()

    async def _dial(self, running: Running) -> socket.socket:
        """A connection to the agent's port, as soon as QEMU has noticed the end of the clients before."""
        deadline = self._loop.time() + _QUEUE_PATIENCE
        while True:
            try:
                return sockets.connect(self._spec.directory, sockets.AGENT_SOCKET)
            except sockets.QueueFull:
                if running.ended.done() or self._loop.time() >= deadline:
                    raise
            await asyncio.sleep(_QUEUE_PAUSE)

    async def _agent(self, running: Running) -> None:
        """Wait for the agent's port, or the machine's end, or the deadline."""
        opened = asyncio.create_task(running.agent_open.wait())
        try:
            left = max(self._deadline - self._loop.time(), 0.05)
            await asyncio.wait((opened, running.ended), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        if running.ended.done():
            raise self._ended(running.ended.result())
        if not running.agent_open.is_set():
            raise DeadlineExceeded(
                f"machine {self.key}: no agent within {self._spec.boot_timeout:g} seconds",
                hint=self._console_hint(running),
            )
        self._deadline = self._loop.time() + self._spec.boot_timeout

    def _ended(self, end: MachineExit) -> MachineError:
        return MachineError(
            f"machine {self.key} ended before its agent answered: {end.detail}",
            hint=self._console_hint(self._running),
        )

    def _console_hint(self, running: Running) -> str:
        words = running.console.tail() or "(nothing)"
        lines = [line for line in words.splitlines() if line.strip()][-5:]
        return f"the console ({self._spec.console}) ends with: " + " | ".join(lines)

    async def _prove(self, seconds: float, relaunch: Relaunch, verdict: Verdict) -> None:
        running = self._running
        opened = asyncio.create_task(running.agent_open.wait())
        try:
            await asyncio.wait((opened, running.ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        if running.agent_open.is_set():
            verdict(Trust.WORKS)
            return
        if running.ended.done() and running.ended.result().end is not MachineEnd.FAILED:
            return
        verdict(Trust.FAILS)
        await running.end(0)
        with contextlib.suppress(MonocoreError):  # then the first life's end is the machine's
            self._running = await relaunch()
            self._deadline = self._loop.time() + self._spec.boot_timeout

    async def _tried(self) -> None:
        if self._trial is not None:
            await asyncio.wait([self._trial])

    async def _abandon_trial(self) -> None:
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait([self._trial])

    async def _close_channel(self) -> None:
        if self._channel is not None:
            await self._channel.aclose()
            self._channel = None
