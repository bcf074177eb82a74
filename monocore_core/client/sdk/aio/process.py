"""A process in a sandbox, with its streams, over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

from aiohttp import ClientWebSocketResponse, WSMsgType

from monocore_core.client.sdk import talk
from monocore_core.client.sdk.aio.link import Link, explained
from monocore_core.client.sdk.values import Exit
from monocore_core.errors import Conflict

#: Bytes of input in one message.
PIECE = 256 * 1024
_CHUNK = 64 * 1024


class Output:
    """One output of a process. Iterate over it for what comes, as it comes."""

    def __init__(self, process: Process, mark: int) -> None:
        self._process = process
        self._mark = mark

    async def read(self, limit: int = _CHUNK) -> bytes:
        """At least a byte, at most ``limit``; ``b""`` at its end.

        Raises:
            MonocoreError: it cannot come any more.
        """
        return await self._process.read(self._mark, limit)

    async def read_all(self) -> bytes:
        """Everything until its end."""
        return b"".join([chunk async for chunk in self])

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        while chunk := await self.read():
            yield chunk


class Process:
    """A process that runs. A context manager: leaving it ends the process, by a hang-up, when it still runs.

    Attributes:
        stdout: its output; of a terminal, everything.
        stderr: empty for a terminal.
    """

    def __init__(self, link: Link, socket: ClientWebSocketResponse) -> None:
        self._link = link
        self._socket = socket
        self._talk = talk.Talk()
        self._reading = asyncio.Lock()
        self.stdout = Output(self, talk.OUT)
        self.stderr = Output(self, talk.ERR)

    @classmethod
    async def open(cls, link: Link, where: str, first: str) -> Process:
        """Connect, say what is wanted, and wait until it runs. Failure and cancellation leave nothing that runs.

        Raises:
            CommandNotFound, CommandNotExecutable, GuestError: it cannot be run. NotFound, Conflict: the sandbox cannot.
        """
        process = cls(link, await link.websocket(where))
        try:
            with explained(link.endpoint):
                await process._socket.send_str(first)
            await process._until(lambda: process._talk.started or process._talk.over)
            process._talk.begun()
        except BaseException:
            await process.close()
            raise
        return process

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def exit(self) -> Exit | None:
        """How it ended, as far as that was heard of."""
        return self._talk.exit

    async def write(self, data: bytes | str) -> None:
        """Send to its standard input; waits while too much waits there.

        Raises:
            Conflict: it has ended.
        """
        raw = data.encode() if isinstance(data, str) else data
        for at in range(0, len(raw), PIECE):
            await self._send(bytes([talk.IN]) + raw[at : at + PIECE])

    async def close_stdin(self) -> None:
        """End its standard input."""
        await self._send(bytes([talk.IN]))

    async def signal(self, number: int) -> None:
        """Send it a signal."""
        await self._send(talk.signal(number))

    async def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal; without one, nothing happens."""
        await self._send(talk.resize(rows, columns))

    async def read(self, mark: int, limit: int) -> bytes:
        """Of an output: see :meth:`Output.read`."""
        await self._until(lambda: self._talk.has(mark))
        return self._talk.take(mark, limit)

    async def wait(self) -> Exit:
        """Wait until it has ended. Its output is kept meanwhile, up to 64 MiB of each.

        Raises:
            MonocoreError: the connection was lost. LimitExceeded: it writes more than is kept.
        """
        await self._until(lambda: self._talk.over)
        return self._talk.ended()

    async def close(self) -> None:
        """Leave it; when it still runs, it is hung up on. A repeat does nothing."""
        await self._socket.close()

    async def _send(self, message: str | bytes) -> None:
        if self._talk.over or self._socket.closed:
            raise Conflict("the process has ended")
        with explained(self._link.endpoint):
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Hear messages until something is so; of several who wait one hears for all."""
        while not ready():
            async with self._reading:
                if not ready():
                    await self._hear()

    async def _hear(self) -> None:
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            self._talk.on_text(str(message.data).encode())
        elif message.type is WSMsgType.BINARY:
            self._talk.on_binary(bytes(message.data))
        else:
            self._talk.on_end()
