"""Walks over a log's records from one segment to the next, while it is written, rotated and trimmed by others."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from monocore_core.logs import segments
from monocore_core.logs.values import LogQuery, LogRecord


@frozen(order=True)
class Place:
    """Between two records: a segment's number, and a position in it (0: its beginning)."""

    number: int
    position: int = 0


class Walk:
    """A reader's place in a log. Blocking; holds at most one file and one chunk."""

    def __init__(self, folder: Path, query: LogQuery, begin: Place, end: Place | None = None) -> None:
        self._folder, self._query, self._end = folder, query, end
        self._place = begin
        self._segment: segments.Segment | None = None
        self.passed = False
        """Whether a record later than ``until_ns`` was seen: the walk ends."""

    def close(self) -> None:
        """Close what is open. A repeat does nothing."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def batch(self) -> list[LogRecord]:
        """The next records that are asked for, at least one, or none when there are no more for now.

        Raises:
            OSError: the disk cannot be read.
        """
        while not self.passed:
            newer = [number for number in segments.numbers(self._folder) if number > self._place.number]
            records = self._read()
            if not records:
                if not newer or self._ended(Place(newer[0])):
                    return []
                self._go(
                    Place(newer[0])
                )  # listed before the read, so the one we leave got no more records since
                continue
            if taken := self._take(records):
                return taken
        return []

    def _read(self) -> list[LogRecord]:
        if self._ended(self._place):
            return []
        if self._segment is None:
            self._segment = segments.Segment.open(self._folder, self._place.number)
            if self._segment is None:  # not there yet, or not any more, or damaged
                return []
            if self._place.position == 0:
                self._place = Place(self._place.number, self._segment.start)
        end = self._end.position if self._end and self._end.number == self._place.number else None
        records, position = self._segment.chunk(self._place.position, end)
        self._place = Place(self._place.number, position)
        return records

    def _take(self, records: list[LogRecord]) -> list[LogRecord]:
        until = self._query.until_ns
        if until is not None and any(record.time_ns > until for record in records):
            self.passed = True
        return [record for record in records if self._query.takes(record)]

    def _ended(self, place: Place) -> bool:
        return self._end is not None and place >= self._end

    def _go(self, place: Place) -> None:
        self.close()
        self._place = place


def begin(folder: Path, query: LogQuery) -> Place:
    """Where to begin so as not to read what is too old. Reads headers alone."""
    if query.since_ns is not None:
        for segment in segments.from_last(folder):
            if segment.header.high_ns < query.since_ns:
                return Place(segment.header.number)
    return Place(0)
