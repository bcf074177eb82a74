"""A process in the guest, as the host has it: its streams, its end, signals to it. Made by :meth:`monocore_core.guest.client.Guest.spawn`."""

from __future__ import annotations

import asyncio

from monocore_core.errors import GuestError
from monocore_core.guest.messages import encode_size
from monocore_core.guest.operation import Operation
from monocore_core.guest.session import Session
from monocore_core.guest.streams import ByteStream
from monocore_core.guest.wire import Channel, Kind
from monocore_core.model.guest import ProcessExit, TerminalSize


class ProcessInput:
    """Standard input of a process in the guest."""

    def __init__(self, session: Session, operation: Operation) -> None:
        self._session = session
        self._operation = operation
        self._closed = False

    async def write(self, data: bytes) -> None:
        """Send, waiting while the guest does not take more. What a process that closed its input cannot take is discarded.

        Raises:
            GuestError: the agent is gone.
        """
        if self._closed:
            raise GuestError("standard input was closed already")
        await self._session.send_all(self._operation, data)

    async def close(self) -> None:
        """Send the end. A repeat does nothing."""
        if not self._closed:
            self._closed = True
            self._session.send(Kind.END, self._operation.id)


class GuestProcess:
    """A process in the guest.

    Attributes:
        id: number of the operation.
        label: the name that its spec gave it, or "".
        kept: whether its output waits for :meth:`~monocore_core.guest.streams.ByteStream.acknowledge`, across connections; then
            the owner calls :meth:`release` once exit and output are safe.
        terminal: whether it has one, which :meth:`resize` changes.
        stdout: its output; of a terminal, everything.
        stderr: empty for a terminal.
        stdin: its input.
    """

    def __init__(self, session: Session, operation: Operation) -> None:
        self._session = session
        self._operation = operation
        self.id = operation.id
        self.label = operation.label
        self.kept = operation.kept
        self.terminal = operation.terminal
        self.stdout: ByteStream = operation.outputs[Channel.OUT]
        self.stderr: ByteStream = operation.outputs[Channel.ERR]
        self.stdin = ProcessInput(session, operation)

    async def write_stdin(self, data: bytes) -> None:
        """Send to its standard input; waits for credit.

        Raises:
            GuestError: the agent is gone.
        """
        await self.stdin.write(data)

    async def close_stdin(self) -> None:
        """End its standard input. A repeat does nothing."""
        await self.stdin.close()

    async def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to its process group. One that has ended is not an error.

        Raises:
            GuestError: the agent is gone.
        """
        _alive(self._session)
        self._session.send(Kind.SIGNAL, self.id, bytes([number & 0x7F, int(group)]))

    async def resize(self, size: TerminalSize) -> None:
        """Change the size of its terminal; without one, nothing happens."""
        _alive(self._session)
        self._session.send(Kind.RESIZE, self.id, encode_size(size))

    async def wait(self) -> ProcessExit:
        """Wait until it has ended. May be called by many and again. Output may still arrive afterwards.

        Raises:
            GuestError: the agent is gone; or, of a kept process whose first connection broke while it began, it could not
                be run, as :meth:`.Guest.spawn` says it.
        """
        return await asyncio.shield(self._operation.exit)

    async def release(self) -> None:
        """Let go of it: its output is not wanted any more, and its exit is forgotten. Does not end it.

        One that is not kept is let go of by itself when it has ended and all of its output has arrived.
        """
        self._session.forget(self._operation)


def _alive(session: Session) -> None:
    if session.failure is not None:
        raise session.failure
