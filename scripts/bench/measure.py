"""Samples, turns and the table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen


@frozen
class Row:
    """One measured thing.

    Attributes:
        section: which comparison it belongs to.
        name: what was done, and by whom.
        samples: seconds, in the order of the runs.
        note: what else to know: bytes, ratio, target.
    """

    section: str
    name: str
    samples: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the samples, seconds."""
        return statistics.median(self.samples)

    def percentile(self, percent: int) -> float:
        """The sample that ``percent`` of the samples do not exceed (nearest rank), seconds."""
        ordered = sorted(self.samples)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@frozen
class Claim:
    """A ratio or bound that the design set, and what was measured.

    Attributes:
        text: the claim, with its numbers.
        kept: whether this run kept it; None where there is no target.
    """

    text: str
    kept: bool | None = None


@frozen
class Section:
    """The outcome of one comparison."""

    title: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = field(default=())


def in_turns(section: str, work: Mapping[str, Callable[[], float]], runs: int) -> dict[str, Row]:
    """Do each piece of work ``runs`` times, in turns, so that what disturbs the machine disturbs all alike.

    Args:
        section: name for the rows.
        work: does it once and returns the seconds that count, by name.
        runs: how often.
    """
    samples: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, once in work.items():
            samples[name].append(once())
    return {name: Row(section, name, tuple(values)) for name, values in samples.items()}


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def table(sections: Sequence[Section]) -> str:
    """The sections for a person."""
    rows = [row for section in sections for row in section.rows]
    width = max((len(row.name) for row in rows), default=0)
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title, "-" * len(section.title)]
        for row in section.rows:
            spread = f"{_seconds(min(row.samples))} .. {_seconds(max(row.samples))}"
            tail = f"  {row.note}" if row.note else ""
            lines.append(
                f"  {row.name:<{width}}  {_seconds(row.median):>9}  ({spread}, {len(row.samples)} runs){tail}"
            )
        for claim in section.claims:
            mark = {True: "kept", False: "MISSED", None: ""}[claim.kept]
            lines.append(f"  => {claim.text}{f'  [{mark}]' if mark else ''}")
        lines += [f"  note: {note}" for note in section.notes]
    return "\n".join(lines)


def document(sections: Sequence[Section], machine: Mapping[str, object]) -> dict[str, object]:
    """The sections for a program; times in seconds."""
    return {
        "machine": dict(machine),
        "sections": [
            {
                "title": section.title,
                "rows": [
                    {"name": row.name, "median": row.median, "samples": list(row.samples), "note": row.note}
                    for row in section.rows
                ],
                "claims": [{"text": claim.text, "kept": claim.kept} for claim in section.claims],
                "notes": list(section.notes),
            }
            for section in sections
        ],
    }


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
