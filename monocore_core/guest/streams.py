"""Both ends of a stream on the host: bounded by credit, so that memory is too."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from monocore_core.errors import GuestError, InvalidInput
from monocore_core.guest.wire import WINDOW

#: Credit is given back in portions of this many bytes.
_PORTION: Final = WINDOW // 4
#: Pieces of fewer bytes are read together.
_CRUMB: Final = 4096


class ByteStream:
    """Bytes from the guest. One reader at a time; holds at most the credit that was given (256 KiB).

    What is read makes room for more; of a kept process, only what :meth:`acknowledge` says is safe.
    """

    def __init__(self, grant: Callable[[int], None], *, kept_from: int | None = None) -> None:
        self._grant = grant
        self._kept = kept_from is not None
        self._offset = self._acknowledged = kept_from or 0
        self._chunks: deque[bytes] = deque()
        self._credit = WINDOW
        self._consumed = 0
        self._ended = False
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._end = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether no more will arrive."""
        return self._ended

    @property
    def offset(self) -> int:
        """Of the next byte that :meth:`read` gives: counted from the process's start when it is kept, else from here."""
        return self._offset

    def acknowledge(self, offset: int) -> None:
        """Of a kept process: every byte before ``offset`` is safe, so the guest need not send it again.

        The guest sends at most 256 KiB beyond what was acknowledged. An offset acknowledged before, and a connection that
        has failed, are no errors: then the next connection begins at the earlier offset.

        Raises:
            InvalidInput: the process is not kept, or ``offset`` is beyond what was read.
        """
        if not self._kept or offset > self._offset:
            what = "it was not read yet" if self._kept else "the process is not kept"
            raise InvalidInput(f"output up to byte {offset} cannot be acknowledged: {what}")
        if offset > self._acknowledged:
            portion, self._acknowledged = offset - self._acknowledged, offset
            self._credit += portion
            self._grant(portion)

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """Up to ``limit`` bytes, at least one; ``b""`` at the end.

        Raises:
            GuestError: the agent is gone; said after the bytes that had arrived.
        """
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        chunk = self._next(limit)
        self._offset += len(chunk)
        if self._kept:
            return chunk
        self._consumed += len(chunk)
        if self._consumed >= _PORTION and not self._ended:
            portion, self._consumed = self._consumed, 0
            self._credit += portion
            self._grant(portion)
        return chunk

    def _next(self, limit: int) -> bytes:
        """The next bytes of those that are here; a guest may send them one by one."""
        chunk = self._chunks.popleft()
        if len(chunk) < _CRUMB:
            parts, size = [chunk], len(chunk)
            while self._chunks and size < _CRUMB and size < limit:
                parts.append(self._chunks.popleft())
                size += len(parts[-1])
            chunk = b"".join(parts)
        if len(chunk) > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        return chunk

    async def arrived(self) -> None:
        """Wait until the end has arrived, read or not."""
        await self._end.wait()

    def feed(self, data: bytes) -> None:
        """Bytes arrived.

        Raises:
            GuestError: more than the guest was allowed, or after its end.
        """
        if len(data) > self._credit or self._ended:
            raise GuestError("the guest agent broke the protocol: it sent more than it was allowed")
        self._credit -= len(data)
        if data:
            self._chunks.append(data)
            self._changed.set()

    def end(self) -> None:
        """No more will arrive."""
        self._ended = True
        self._end.set()
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """No more can arrive."""
        self._end.set()
        if not self._ended:
            self._failure = error
            self._changed.set()


class Credit:
    """What we may still send on one stream to the guest."""

    def __init__(self, available: int = WINDOW) -> None:
        self._available = available
        self._closed = False
        self._failure: Exception | None = None
        self._changed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the guest takes no more: its end closed the stream."""
        return self._closed

    async def take(self, limit: int) -> int:
        """Wait for credit and take up to ``limit`` bytes of it; 0 when nobody reads any more.

        Raises:
            GuestError: the agent is gone.
        """
        while not self._available:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return 0
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
        if self._closed:
            return 0
        taken = min(limit, self._available)
        self._available -= taken
        return taken

    def give(self, amount: int) -> None:
        """The guest consumed that much.

        Raises:
            GuestError: more than it ever received.
        """
        if self._available + amount > WINDOW:
            raise GuestError("the guest agent broke the protocol: it gave too much credit")
        self._available += amount
        self._changed.set()

    def close(self) -> None:
        """The guest takes no more."""
        self._closed = True
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """Nothing can be sent."""
        self._failure = error
        self._changed.set()
