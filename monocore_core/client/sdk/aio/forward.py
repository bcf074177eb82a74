"""A port of this host whose connections go to a port in a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import ClientWebSocketResponse, WSMsgType

from monocore_core.client.api import problem
from monocore_core.client.sdk.aio.link import Link
from monocore_core.client.tables import parse_table, table
from monocore_core.errors import MonocoreError, Unreachable

#: Connections at once; further ones are closed.
MAX_CONNECTIONS = 256
_CHUNK = 256 * 1024


class Forward:
    """Listens, and relays. A context manager: leaving it closes every connection.

    Attributes:
        host: address that it listens on.
        port: port that it listens on.
        error: why the latest connection did not come about, or None.
    """

    def __init__(self, link: Link, where: str, failed: Callable[[MonocoreError], None] | None = None) -> None:
        self.host = ""
        self.port = 0
        self.error: MonocoreError | None = None
        self._link = link
        self._where = where
        self._failed = failed
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        link: Link,
        where: str,
        host: str,
        port: int,
        failed: Callable[[MonocoreError], None] | None = None,
    ) -> Forward:
        """Listen.

        Args:
            link: to the daemon.
            where: the WebSocket of the sandbox's port.
            host: address to listen on.
            port: to listen on; 0: whichever is free.
            failed: told why a connection does not come about.

        Raises:
            Unreachable: it cannot be listened on.
        """
        forward = cls(link, where, failed)
        try:
            server = await asyncio.start_server(forward._accept, host, port)
        except OSError as error:
            raise Unreachable(
                f"cannot listen on {host}:{port}: {error.strerror}", hint="local=0 takes a free port"
            ) from error
        forward._server = server
        forward.host, forward.port = server.sockets[0].getsockname()[:2]
        return forward

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, and close every connection. A repeat does nothing."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            _reset(writer)
            return
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            channel = await self._link.websocket(self._where)
            try:
                sending = asyncio.create_task(_send(reader, channel))
                try:
                    await _receive(channel, writer)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
            finally:
                await channel.close()
        except MonocoreError as error:
            self.error = error
            if self._failed is not None:
                self._failed(error)
            _reset(writer)
        except ConnectionError:  # of the local side: it has left
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the local side see that the connection failed, and not that it ended (socket(7), SO_LINGER)."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _send(reader: asyncio.StreamReader, channel: ClientWebSocketResponse) -> None:
    """From the local side; an empty message is its end."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            await channel.send_bytes(data)
        await channel.send_bytes(b"")


async def _receive(channel: ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    """To the local side, until both ends have ended.

    Raises:
        MonocoreError: the sandbox's side cannot be reached. Unreachable: the daemon was lost.
    """
    while True:
        message = await channel.receive()
        if message.type is WSMsgType.BINARY:
            data = bytes(message.data)
            if data:
                writer.write(data)
                await writer.drain()
            elif writer.can_write_eof():
                writer.write_eof()
        elif message.type is WSMsgType.TEXT:
            told = parse_table(str(message.data).encode())
            if "error" in told:
                raise problem(table(told["error"]))
        elif message.type is WSMsgType.CLOSE and message.data == 1000:
            return
        else:
            raise Unreachable("the connection to the daemon was lost")
