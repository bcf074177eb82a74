"""Where the last lines of a log begin."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from attrs import frozen

from monocore_core.logs import segments
from monocore_core.logs.lines import Lines
from monocore_core.logs.values import LogLine, LogQuery, Stream
from monocore_core.logs.walk import Place, Walk, begin


@frozen
class Tail:
    """The last lines: those between two places but for the first ``skip``."""

    begin: Place
    skip: int
    end: Place


def lines_between(folder: Path, query: LogQuery, first: Place, last: Place | None) -> Iterator[LogLine]:
    """Lines from ``first`` on, until ``last`` or what is the end now; what is unfinished there is given as it is."""
    lines = Lines()
    walk = Walk(folder, query, first, last)
    try:
        while records := walk.batch():
            for record in records:
                yield from lines.feed(record)
    finally:
        walk.close()
    yield from lines.flush()


def find_tail(folder: Path, query: LogQuery, count: int) -> Tail:
    """Find the last ``count`` lines of what there is.

    Segments are counted from the last one back until they have enough newlines; then the lines from there on are counted as
    lines. One segment more is read, for lines that begin in it; what began before that lacks its beginning. In memory is one chunk.
    """
    end = Place(0)
    found = 0
    first: Place | None = None
    for segment in segments.from_last(folder):
        newlines, position = _newlines(segment, query)
        end = end if end.number else Place(segment.header.number, position)
        if first is not None or count == 0:
            first = Place(segment.header.number)
            break
        found += newlines
        if found >= count:
            first = Place(segment.header.number)
        elif query.since_ns is not None and segment.header.high_ns < query.since_ns:
            break
    if count == 0:
        return Tail(end, 0, end)
    first = first or begin(folder, query)
    total = sum(1 for _ in lines_between(folder, query, first, end))
    return Tail(first, max(0, total - count), end)


def tail_lines(folder: Path, query: LogQuery, tail: Tail) -> Iterator[LogLine]:
    """The lines that were found."""
    return islice(lines_between(folder, query, tail.begin, tail.end), tail.skip, None)


def _newlines(segment: segments.Segment, query: LogQuery) -> tuple[int, int]:
    """How many lines end in a segment, and where it ends."""
    count, position = 0, segment.start
    while True:
        records, after = segment.chunk(position)
        if not records:
            return count, position
        position = after
        for record in filter(query.takes, records):
            count += 1 if record.stream is Stream.NOTE else record.data.count(b"\n")
