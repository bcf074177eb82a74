"""From the agent to the log, and to those who are attached: every byte once, in order, and never faster than all of them take it.

The agent keeps what was not acknowledged, and a byte is acknowledged when the log has it and everyone attached has room for
it. So a daemon that dies loses nothing (the next one receives those bytes again, and the log recognises them by their
offsets), and one who reads slowly makes the command wait, as a pipe does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from monocore_core.errors import MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.streams import ByteStream
from monocore_core.logs import LogWriter, Stream

#: Bytes that wait for one who is attached, before the command has to.
ROOM = 1024 * 1024
#: Seconds without a byte, after the command ended, until what its children still hold open is given up.
SILENCE = 0.5
#: Bytes after the command ended that may still be its own, in pipes and on the way; more are of children that go on writing.
LEFT = 8 * 1024 * 1024
_READ = 256 * 1024
#: Bytes that a piece takes beside its own, about.
_PIECE = 128


class Listening:
    """One who is attached to a command's output. Iterate over it: (stream, bytes), to the end of both streams or :meth:`close`."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Stream, bytes]] = deque()
        self._size = 0
        self._over = False
        self._closed = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def __aiter__(self) -> Listening:
        return self

    async def __anext__(self) -> tuple[Stream, bytes]:
        while not self._waiting:
            if self._over or self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        stream, data = self._waiting.popleft()
        self._size -= len(data) + _PIECE
        self._room.set()
        return stream, data

    def close(self) -> None:
        """Nobody listens any more."""
        self._closed = True
        self._waiting.clear()
        self._size = 0
        self._room.set()
        self._news.set()

    def finish(self) -> None:
        """No more will come."""
        self._over = True
        self._news.set()

    @property
    def full(self) -> bool:
        """Whether it has no room: somebody listens, slowly."""
        return self._size > ROOM and not self._closed

    @property
    def closed(self) -> bool:
        """Whether nobody listens any more."""
        return self._closed

    async def put(self, stream: Stream, data: bytes) -> None:
        """Hand over, waiting while there is no room."""
        while self.full:
            self._room.clear()
            await self._room.wait()
        if not self._closed:
            self._waiting.append((stream, data))
            self._size += len(data) + _PIECE
            self._news.set()


class Output:
    """The output of one run's command.

    Attributes:
        touched: when the last byte came, in the loop's seconds.
        received: bytes that came, of both streams.
    """

    def __init__(self, process: GuestProcess, log: LogWriter, label: str) -> None:
        self._log = log
        self._label = label
        self._listeners: list[Listening] = []
        self._over = False
        self._first: Callable[[], None] | None = None
        self.touched = asyncio.get_running_loop().time()
        self.received = 0
        self._tasks = [
            asyncio.create_task(self._pump(stream, source), name=f"output-{label}-{stream}")
            for stream, source in ((Stream.STDOUT, process.stdout), (Stream.STDERR, process.stderr))
        ]

    def listen(self) -> Listening:
        """Attach: what comes from now on."""
        listening = Listening()
        if self._over:
            listening.finish()
        self._listeners = [*(one for one in self._listeners if not one.closed), listening]
        return listening

    def at_first(self, call: Callable[[], None]) -> None:
        """Call once, when the first output has been handed over that comes from now on."""
        self._first = call

    @property
    def attached(self) -> int:
        """How many listen."""
        return sum(not one.closed for one in self._listeners)

    async def drain(self) -> None:
        """After the command's end: wait for the end of its output, and tell everyone.

        A child that it left behind may hold a stream open for ever, or write for ever; after some time without a byte, and after more than could
        be the command's own, that is given up.
        """
        most = self.received + LEFT
        while pending := [task for task in self._tasks if not task.done()]:
            before = self.touched
            await asyncio.wait(pending, timeout=SILENCE)
            if self.received > most:
                break
            blocked = any(one.full for one in self._listeners)
            if before == self.touched and not blocked and any(not task.done() for task in pending):
                break
        await self.close()

    async def close(self) -> None:
        """Stop, whatever is still to come. A repeat does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._over:
            self._over = True
            for stream in (Stream.STDOUT, Stream.STDERR):
                self._log.end(self._label, stream, time_ns=time.time_ns())
            for listener in self._listeners:
                listener.finish()

    def leave(self) -> None:
        """Stop without an end: another process will go on where the log ends."""
        for task in self._tasks:
            task.cancel()

    async def _pump(self, stream: Stream, source: ByteStream) -> None:
        with contextlib.suppress(MonocoreError):  # the agent is gone: the machine's end says why
            while True:
                offset = source.offset
                data = await source.read(_READ)
                if not data:
                    return
                self.touched = asyncio.get_running_loop().time()
                self.received += len(data)
                safe = self._log.append(self._label, stream, offset, data, time_ns=time.time_ns())
                for listener in self._listeners:
                    await listener.put(stream, data)
                if (first := self._first) is not None:
                    self._first = None
                    first()
                self.touched = asyncio.get_running_loop().time()
                source.acknowledge(min(safe, source.offset))
