"""How long the stages of starts take, how machines begin, and why starts fail: counted for as long as the process lives."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

from attrs import define, field

#: Upper bounds, seconds: from a stage that does nothing to an image that is pulled over a slow line.
BOUNDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
#: Names that are counted apart, of each kind; what comes beyond is counted as :data:`OTHER`.
MAX_NAMES: Final = 64
OTHER: Final = "other"


@define
class Histogram:
    """Seconds, by :data:`BOUNDS`.

    Attributes:
        counts: of what is at most each bound and above the one before; the last is above all.
        total: seconds.
    """

    counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Something took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """Of everything."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """For Prometheus: (bound, how many are at most that)."""
        found: list[tuple[str, int]] = []
        below = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found


@define(eq=False)
class Starts:
    """Of one daemon.

    Attributes:
        stages: by name.
        begun: machines, by how they began: ``boot``, ``copy``, ``spare``.
        failures: starts that failed, by reason: a name of the error vocabulary.
        ends: runs that ended, by reason.
    """

    stages: dict[str, Histogram] = field(factory=dict[str, Histogram])
    begun: Counter[str] = field(factory=Counter[str])
    failures: Counter[str] = field(factory=Counter[str])
    ends: Counter[str] = field(factory=Counter[str])

    def observe(self, stage: str, seconds: float) -> None:
        """A stage is complete."""
        name = stage if stage in self.stages or len(self.stages) < MAX_NAMES else OTHER
        self.stages.setdefault(name, Histogram()).observe(seconds)

    def failed(self, reason: str) -> None:
        """A start has failed."""
        _count(self.failures, reason)

    def ended(self, reason: str) -> None:
        """A run has ended."""
        _count(self.ends, reason)


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < MAX_NAMES else OTHER] += 1
