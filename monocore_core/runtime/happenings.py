"""What happened to sandboxes, numbered: kept for a while, so that a follower who comes back misses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping

from attrs import field, frozen

#: Happenings that are kept.
KEPT = 4096
_NOTHING: Mapping[str, object] = {}


@frozen
class Happening:
    """Something that happened.

    Attributes:
        number: grows by one each, from the start of the runtime.
        time: seconds since the epoch.
        kind: a word: ``created``, ``started``, ``exited``, ``removed``, ``oom``, ``health``, ``denied`` … ; ``missed`` for a follower
            who was too slow: then ``facts["count"]`` happenings are missing.
        sandbox: id, or "".
        name: of the sandbox, or of what it happened to.
        facts: more, plain data.
    """

    number: int
    time: float
    kind: str
    sandbox: str = ""
    name: str = ""
    facts: Mapping[str, object] = field(factory=dict[str, object])


class Happenings:
    """The happenings of one runtime. A follower costs nothing but its place: what it did not take yet is kept once, for all."""

    def __init__(self, kept: int = KEPT) -> None:
        self._ring: deque[Happening] = deque(maxlen=kept)
        self._next = 1
        self._news: asyncio.Event = asyncio.Event()
        self._closed = False

    @property
    def last(self) -> int:
        """Number of the latest one; 0 before the first."""
        return self._next - 1

    def tell(
        self, kind: str, sandbox: str = "", name: str = "", facts: Mapping[str, object] = _NOTHING
    ) -> Happening:
        """Something happened now."""
        happening = Happening(self._next, time.time(), kind, sandbox, name, dict(facts))
        self._next += 1
        self._ring.append(happening)
        self._wake()
        return happening

    def close(self) -> None:
        """Nothing will happen any more: followers come to their end."""
        self._closed = True
        self._wake()

    def since(self, number: int) -> list[Happening]:
        """Those after ``number`` that are still kept, oldest first."""
        behind = self.last - number
        return [] if behind <= 0 else list(self._ring)[-behind:]

    async def changed(self, after: int, seconds: float) -> bool:
        """Wait until something has happened after the one of that number, or for so many seconds; False when nothing can happen any more."""
        news = self._news
        if self.last <= after and not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await news.wait()
        return not self._closed

    async def follow(self, after: int | None = None) -> AsyncGenerator[Happening]:
        """Those after the one of that number (None: from now on), as they happen, until :meth:`close`."""
        place = self.last if after is None else max(0, min(after, self.last))
        while True:
            news = self._news
            waiting = self.since(place)
            if waiting and waiting[0].number > place + 1:
                missed = waiting[0].number - place - 1
                yield Happening(waiting[0].number - 1, waiting[0].time, "missed", facts={"count": missed})
            for happening in waiting:
                place = happening.number
                yield happening
            if not waiting:
                if self._closed:
                    return
                await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
