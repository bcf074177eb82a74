"""Measures all sandboxes, one after the other, spread over the interval, in one task."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

from attrs import define, evolve, field, frozen

from monocore_core.errors import MonocoreError, NotFound
from monocore_core.metrics.history import CAPACITY, History
from monocore_core.metrics.host import add_up, read_process
from monocore_core.metrics.values import HostFigures, Sample
from monocore_core.model.guest import GuestStats

#: Seconds that a guest has to answer; a busy one may not.
PATIENCE = 5.0
_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, spread evenly however many there are


@frozen
class Target:
    """What is measured.

    Attributes:
        key: of the sandbox.
        pids: of the VMM and its helpers.
        guest: asks the guest for its figures; None: it is not asked.
    """

    key: str
    pids: tuple[int, ...]
    guest: Callable[[], Awaitable[GuestStats]] | None = None


@define
class _Measured:
    target: Target
    history: History
    token: int
    starts: dict[int, int] = field(factory=dict[int, int])
    asked_at: float | None = None
    weighed_at: float | None = None
    asking: bool = False
    guest: GuestStats | None = None
    guest_time_ns: int = 0
    pss: int | None = None


def _ignore(key: str, sample: Sample) -> None:
    del key, sample


class Sampler:
    """Keeps a :class:`History` for each target. :meth:`run` does it at intervals, :meth:`now` at once.

    Args:
        interval: seconds between two samples of one sandbox.
        guest_interval: seconds between two questions to its guest, which has to wake for it.
        weight_interval: seconds between two walks over the VMM's page tables for ``pss``, which take as long as all the rest.
        capacity: samples kept of each.
        listener: is told of each sample and its key; must not take long.
    """

    def __init__(
        self,
        *,
        interval: float = 10.0,
        guest_interval: float = 30.0,
        weight_interval: float = 120.0,
        capacity: int = CAPACITY,
        listener: Callable[[str, Sample], None] = _ignore,
    ) -> None:
        self._listener = listener
        self._interval, self._guest_interval, self._capacity = interval, guest_interval, capacity
        self._weight_interval = weight_interval
        self._measured: dict[str, _Measured] = {}
        self._due: list[tuple[float, int, str]] = []
        self._tokens = count(1)
        self._changed = asyncio.Event()
        self._questions: set[asyncio.Task[None]] = set()

    def add(self, target: Target) -> None:
        """Measure a sandbox. One with the same key is measured by this target from now on, into the same history."""
        known = self._measured.get(target.key)
        token = next(self._tokens)
        history = History(self._capacity) if known is None else known.history
        self._measured[target.key] = _Measured(target, history, token)
        delay = token * _GOLDEN % 1 * self._interval
        heapq.heappush(self._due, (time.monotonic() + delay, token, target.key))
        self._changed.set()

    def remove(self, key: str) -> None:
        """Stop, and forget. An unknown key is not an error."""
        self._measured.pop(key, None)

    def keys(self) -> tuple[str, ...]:
        """Of what is measured."""
        return tuple(self._measured)

    def history(self, key: str) -> History:
        """Of one sandbox.

        Raises:
            NotFound: it is not measured.
        """
        return self._of(key).history

    async def now(self, key: str) -> Sample | None:
        """Measure one sandbox, its guest too, at once; None when its processes have ended.

        Raises:
            NotFound: it is not measured.
        """
        measured = self._of(key)
        await self._ask(measured)
        return self._measure(measured, pss=True)

    async def run(self) -> None:
        """Measure until cancelled."""
        try:
            while True:
                await self._wait()
                moment = time.monotonic()
                while self._due and self._due[0][0] <= moment:
                    await asyncio.sleep(0)  # others come first, however far behind we are
                    due, token, key = heapq.heappop(self._due)
                    measured = self._measured.get(key)
                    if measured is not None and measured.token == token:
                        self._turn(measured, moment)
                        # where we were held up, what was missed is not made up for
                        after = max(due + self._interval, moment + self._interval / 2)
                        heapq.heappush(self._due, (after, token, key))
        finally:
            for question in self._questions:
                question.cancel()
            await asyncio.gather(*self._questions, return_exceptions=True)

    def _of(self, key: str) -> _Measured:
        found = self._measured.get(key)
        if found is None:
            raise NotFound(f"sandbox {key!r} is not measured")
        return found

    async def _wait(self) -> None:
        """Until the next one is due, or another was added."""
        self._changed.clear()
        rest = self._due[0][0] - time.monotonic() if self._due else None
        if rest is None or rest > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._changed.wait()

    def _turn(self, measured: _Measured, moment: float) -> None:
        weighs = _is_due(measured.weighed_at, moment, self._weight_interval)
        if weighs:
            measured.weighed_at = moment
        if _is_due(measured.asked_at, moment, self._guest_interval):
            measured.asked_at = moment
            if measured.target.guest is not None and not measured.asking:
                question = asyncio.create_task(self._ask(measured))
                self._questions.add(question)
                question.add_done_callback(self._questions.discard)
        self._measure(measured, pss=weighs)

    async def _ask(self, measured: _Measured) -> None:
        """What the guest says. One that does not answer, or breaks the protocol, said nothing new."""
        if measured.target.guest is None:
            return
        measured.asking = True
        try:
            with suppress(MonocoreError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    measured.guest = await measured.target.guest()
                    measured.guest_time_ns = time.time_ns()
        finally:
            measured.asking = False

    def _measure(self, measured: _Measured, *, pss: bool) -> Sample | None:
        figures: list[HostFigures] = []
        for pid in measured.target.pids:
            found = read_process(pid, pss=pss, start_ticks=measured.starts.get(pid))
            if found is not None:
                figures.append(found[0])
                measured.starts[pid] = found[1]
        host = add_up(figures)
        if host is None:
            return None
        if pss:
            measured.pss = host.pss
        host = evolve(host, pss=measured.pss)
        sample = Sample(time.time_ns(), host, measured.guest, measured.guest_time_ns)
        measured.history.add(sample)
        self._listener(measured.target.key, sample)
        return sample


def _is_due(last: float | None, moment: float, interval: float) -> bool:
    return last is None or moment - last >= interval * 0.99
