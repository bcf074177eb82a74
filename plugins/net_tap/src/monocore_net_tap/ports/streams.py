"""Connections from a listening socket of the host to a port of a guest."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from functools import partial

#: Connections of one published port at a time; more wait in the kernel's queue.
MOST = 1024
_CONNECT_WITHIN = 20.0
_CHUNK = 64 * 1024
#: Seconds that a connection whose port has ended takes at most to pass on what had come before.
_LAST_WORDS = 1.0
#: Seconds before connections are taken again when there are too many, or no descriptors left.
_PAUSE = 0.1
_RESET = struct.pack("ii", 1, 0)

Target = tuple[str, int]


class Streams:
    """One published TCP port. Needs a running loop.

    Args:
        listener: of the host, non-blocking; closed with this.
        target: the guest's address and port.
    """

    def __init__(self, listener: socket.socket, target: Target) -> None:
        self._listener = listener
        self._target = target
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """End it, and every connection, once what a guest said before it ended has been passed on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        for task, connection in self._connections.items():
            connection.end(task)
        self._listener.close()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """A callback, not a task: what a cancelled task has accepted would be lost, and stay open."""
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:  # it was reset before it was taken
            return
        except OSError:  # descriptors have run out
            self._later()
            return
        connection = _Connection(client, self._target)
        task = asyncio.create_task(connection.serve())
        self._connections[task] = connection
        task.add_done_callback(partial(self._gone, client))
        if len(self._connections) >= MOST:
            self._later()

    def _later(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_PAUSE, self._listen)

    def _gone(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()  # also of a task that was cancelled before it began
        del self._connections[task]


class _Connection:
    """One of a client, and the one to the guest that answers to it."""

    def __init__(self, client: socket.socket, target: Target) -> None:
        self._client = client
        self._target = target
        self._guest: socket.socket | None = None

    def end(self, task: asyncio.Task[None]) -> None:
        """Take no more from either side. What has come is passed on, if it is taken soon; ``task``, which serves, ends with that."""
        if self._guest is None:
            task.cancel()
            return
        for each in (self._client, self._guest):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RD)
        asyncio.get_running_loop().call_later(_LAST_WORDS, task.cancel)

    async def serve(self) -> None:
        """Until both have said that nothing follows, or one fails: then the other is reset, as without us."""
        client = self._client
        client.settimeout(0)
        with client, socket.socket(client.family, socket.SOCK_STREAM) as guest:
            guest.settimeout(0)
            try:
                for each in (client, guest):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                async with asyncio.timeout(_CONNECT_WITHIN):
                    await asyncio.get_running_loop().sock_connect(guest, self._target)
                self._guest = guest
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pass_on(client, guest))
                    both.create_task(_pass_on(guest, client))
            except (OSError, ExceptionGroup):
                for each in (client, guest):
                    with suppress(OSError):
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _pass_on(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    room = bytearray(_CHUNK)
    with memoryview(room) as view:
        while size := await loop.sock_recv_into(source, room):
            await loop.sock_sendall(target, view[:size])
    target.shutdown(socket.SHUT_WR)
