"""WebSocket: a connection to a TCP port in a sandbox, made by its agent, whatever the sandbox's network.

Binary messages are its bytes, both ways; one without data is the end of that direction. Each side waits for the other, so memory is
bounded by a message and a stream's credit.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import WSMsgType, web

from monocore_core.errors import InvalidInput, MonocoreError
from monocore_core.guest.connections import GuestStream
from monocore_core.model.access import Scope
from monocore_core.server.app import daemon_of
from monocore_core.server.attach import open_socket, told
from monocore_core.server.bodies import number
from monocore_core.server.routing import Entry

#: Seconds for the connection to be made.
CONNECTING: Final = 30.0
CHUNK: Final = 256 * 1024


async def dial(request: web.Request) -> web.StreamResponse:
    """A connection to a port of a sandbox."""
    port = int(number(request, "port") or 0)
    if not 0 < port < 65536:
        raise InvalidInput("port is not a number from 1 to 65535")
    life = daemon_of(request).sandboxes.life(request.match_info["id"])
    socket = await open_socket(request)
    async with told(socket):
        with life.used():
            async with await life.sandbox.guest.dial(port, timeout=CONNECTING) as stream:
                await socket.send_json({"started": {"id": life.record.id, "name": life.record.name}})
                await _relay(socket, stream)
    return socket


ENTRIES: Final = (Entry("GET", "/v1/sandboxes/{id}/dial", dial, Scope.RUN),)


async def _relay(socket: web.WebSocketResponse, stream: GuestStream) -> None:
    """Until both directions have ended, or the client has left."""
    ended = asyncio.Event()
    sending = asyncio.create_task(_to_client(socket, stream))
    receiving = asyncio.create_task(_to_guest(socket, stream, ended))
    both = asyncio.create_task(_both(sending, ended))
    try:
        done, _ = await asyncio.wait((both, receiving), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (sending, receiving, both):
            task.cancel()
        await asyncio.gather(sending, receiving, both, return_exceptions=True)


async def _both(sending: asyncio.Task[None], ended: asyncio.Event) -> None:
    await asyncio.shield(sending)
    await ended.wait()


async def _to_client(socket: web.WebSocketResponse, stream: GuestStream) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await stream.read(CHUNK):
            await socket.send_bytes(data)
        await socket.send_bytes(b"")


async def _to_guest(socket: web.WebSocketResponse, stream: GuestStream, ended: asyncio.Event) -> None:
    """Until the client leaves; it is listened to beyond its end, so that its leaving is noticed."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY or ended.is_set():
            raise InvalidInput("a message is not binary, or comes after the end")
        data = bytes(message.data)
        if data:
            await stream.write(data)
            continue
        ended.set()
        with contextlib.suppress(MonocoreError):  # the other side is gone: reading tells
            await stream.close_write()
