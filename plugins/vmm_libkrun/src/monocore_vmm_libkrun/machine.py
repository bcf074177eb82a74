"""A machine, as the core sees it: a process of the fork server's, its console, and the socket that its agent calls."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

from monocore_core.errors import DeadlineExceeded, MachineError
from monocore_core.model.machine import MachineEnd, MachineExit, MachineSpec
from monocore_core.model.security import Layer
from monocore_core.vmmkit import sockets
from monocore_core.vmmkit.channel import SocketChannel
from monocore_core.vmmkit.console import ConsolePump
from monocore_vmm_libkrun.forks import Forked

#: Seconds for a process's exit status to arrive after its end.
_DRAIN = 2.0


def classify(status: int | None, *, ours: bool, words: str) -> MachineExit:
    """Why the machine is no longer running. Pure.

    Args:
        status: exit status, minus a signal's number, or None when unknown. libkrun ends with 0 when the guest does.
        ours: whether we asked for the end.
        words: the last line of the console.
    """
    if status == 0:
        return MachineExit(MachineEnd.SHUTDOWN, "the guest ended itself")
    if ours:
        return MachineExit(MachineEnd.KILLED, "ended on request")
    if status is None:
        how = "libkrun ended, and nobody knows how"
    elif status < 0:
        how = f"libkrun was ended by signal {signal.Signals(-status).name}"
        if -status == signal.SIGSYS:
            how += ", for a system call that is not of its list (the host's audit log names it)"
    else:
        how = f"libkrun ended with status {status}"
    return MachineExit(MachineEnd.FAILED, f"{how}: {words}" if words else how)


class KrunMachine:
    """See :class:`~monocore_core.interfaces.vmm.Machine`.

    Args:
        spec: what runs.
        forked: its process.
        listener: that the agent calls; owned.
        console: owned.
    """

    def __init__(
        self,
        spec: MachineSpec,
        forked: Forked,
        listener: socket.socket,
        console: ConsolePump,
    ) -> None:
        self._spec = spec
        self._process = forked.process
        self._status = forked.status
        self._layers = forked.layers
        self._listener = listener
        self._console = console
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + spec.boot_timeout
        self._channel: SocketChannel | None = None
        self._ours = False
        self._ended = asyncio.create_task(self._watch())
        listener.setblocking(False)  # noqa: FBT003

    @property
    def key(self) -> str:
        """See the protocol."""
        return self._spec.key

    @property
    def pid(self) -> int:
        """See the protocol."""
        return self._process.pid

    @property
    def layers(self) -> frozenset[Layer]:
        """See :class:`~monocore_core.interfaces.vmm.Confined`."""
        return self._layers

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.done()

    async def connect(self) -> SocketChannel:
        """See the protocol."""
        await self._close_channel()
        if self._ended.done():
            raise self._failure()
        called = asyncio.create_task(self._accept())
        try:
            left = max(self._deadline - self._loop.time(), 0.05)
            await asyncio.wait((called, self._ended), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if called.done() and not called.cancelled() and called.exception() is None:
                self._channel = SocketChannel(called.result(), self.key)
                self._deadline = self._loop.time() + self._spec.boot_timeout
                return self._channel
        finally:
            if self._channel is None:
                called.cancel()
                called.add_done_callback(_close)
        if self._ended.done():
            raise self._failure()
        raise DeadlineExceeded(
            f"machine {self.key}: no agent within {self._spec.boot_timeout:g} seconds",
            hint=self._console_hint(),
        )

    async def wait(self) -> MachineExit:
        """See the protocol."""
        return await asyncio.shield(self._ended)

    async def stop(self, grace: float) -> MachineExit:
        """See the protocol. libkrun cannot be asked: it is terminated, then killed."""
        if not self._ended.done():
            self._ours = True
        try:
            if grace > 0:
                self._process.signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._process.wait()
        finally:
            self._process.signal(signal.SIGKILL)
        ended = await asyncio.shield(self._ended)
        await self._close_channel()
        return ended

    async def kill(self) -> MachineExit:
        """See the protocol."""
        return await self.stop(0)

    async def _accept(self) -> socket.socket:
        connected, _ = await self._loop.sock_accept(self._listener)
        return connected

    async def _watch(self) -> MachineExit:
        await self._process.wait()
        status: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                status = await asyncio.shield(self._status)
        lines = [line.strip() for line in self._console.tail().splitlines() if line.strip()]
        self._console.close()
        self._listener.close()
        sockets.remove(self._spec.directory, sockets.AGENT_SOCKET)
        return classify(status, ours=self._ours, words=lines[-1][:500] if lines else "")

    def _failure(self) -> MachineError:
        end = self._ended.result()
        return MachineError(
            f"machine {self.key} ended before its agent answered: {end.detail}", hint=self._console_hint()
        )

    def _console_hint(self) -> str:
        lines = [line for line in self._console.tail().splitlines() if line.strip()][-5:]
        return f"the console ({self._spec.console}) ends with: " + (" | ".join(lines) or "(nothing)")

    async def _close_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()


def _close(accepted: asyncio.Task[socket.socket]) -> None:
    if not accepted.cancelled() and accepted.exception() is None:
        accepted.result().close()
