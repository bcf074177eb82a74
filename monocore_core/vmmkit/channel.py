"""The byte stream to the agent's port: a Unix socket whose other end is the VMM's."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from monocore_core.errors import MachineError

_BUFFER = 1024 * 1024
_MAX_READ = 1024 * 1024
_MAX_VECTORS = 256


class SocketChannel:
    """A :class:`~monocore_core.interfaces.vmm.GuestChannel` over a connected stream socket, which it owns.

    Reads and writes go straight to the socket, large pieces at a time. A write that is cancelled when only a part of it has
    left closes the channel: nobody could tell what the guest has seen.
    """

    def __init__(self, connected: socket.socket, key: str) -> None:
        connected.settimeout(0)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connected.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._socket = connected
        self._key = key
        self._lock = asyncio.Lock()
        self._closed = False
        self._wakers: set[asyncio.Future[None]] = set()

    async def read(self, limit: int) -> bytes:
        """See the protocol."""
        size = min(limit, _MAX_READ)
        while not self._closed:
            try:
                return self._socket.recv(size)
            except BlockingIOError:
                await self._ready(write=False)
            except OSError:
                break
        return b""

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        """See the protocol."""
        left = deque(view for chunk in chunks if len(view := memoryview(chunk).cast("B")))
        async with self._lock:
            begun = False
            try:
                while left:
                    sent = self._send(left)
                    begun = begun or sent > 0
                    if left and not sent:
                        await self._ready(write=True)
            except asyncio.CancelledError:
                if begun:
                    self._close()
                raise

    async def aclose(self) -> None:
        """See the protocol."""
        self._close()

    def _send(self, left: deque[memoryview]) -> int:
        """Send what the socket takes now, and drop it from ``left``; 0 when it takes nothing."""
        if self._closed:
            raise MachineError(f"machine {self._key}: the channel is closed")
        try:
            sent = self._socket.sendmsg([left[index] for index in range(min(len(left), _MAX_VECTORS))])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise MachineError(f"machine {self._key}: the channel is broken ({error.strerror})") from error
        rest = sent
        while rest:
            first = left.popleft()
            if rest < len(first):
                left.appendleft(first[rest:])
            rest = max(0, rest - len(first))
        return sent

    async def _ready(self, *, write: bool) -> None:
        """Wait until the socket can be read or written, or is closed by us."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return
        add, remove = (
            (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        )
        add(descriptor, _wake, ready)
        self._wakers.add(ready)
        try:
            await ready
        finally:
            self._wakers.discard(ready)
            if not self._closed:
                remove(descriptor)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket.fileno())
        loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for waker in self._wakers:
            _wake(waker)


def _wake(waker: asyncio.Future[None]) -> None:
    if not waker.done():
        waker.set_result(None)
