"""The segments in a log's folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from monocore_core.logs.format import MAX_HEADER, MAX_RECORD, Header, decode_header, decode_record
from monocore_core.logs.values import LogRecord

LOCK = "lock"
#: Bytes read at once: what bounds the memory of a reader.
CHUNK = max(1 << 18, 2 * MAX_RECORD)

_NAME = re.compile(r"(\d{10})\.log\Z")


def numbers(folder: Path) -> list[int]:
    """Of the segments of a log, oldest first; empty when there is no log."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - called for each batch: no Path per name
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _NAME.match(name)))


def path_of(folder: Path, number: int) -> Path:
    """Where a segment is."""
    return folder / f"{number:010d}.log"


class Segment:
    """A segment, open for reading."""

    def __init__(self, descriptor: int, header: Header, start: int) -> None:
        self._descriptor = descriptor
        self.header = header
        self.start = start

    @classmethod
    def open(cls, folder: Path, number: int) -> Segment | None:
        """One whose header is whole, or None.

        Raises:
            OSError: it cannot be read.
        """
        try:
            descriptor = os.open(path_of(folder, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = decode_header(os.pread(descriptor, MAX_HEADER + 64, 0))
        except BaseException:
            os.close(descriptor)
            raise
        if found is None or found[0].number != number:
            os.close(descriptor)
            return None
        return cls(descriptor, *found)

    def close(self) -> None:
        """Close the file. A repeat does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def chunk(self, position: int, end: int | None = None) -> tuple[list[LogRecord], int]:
        """Records from ``position`` on, none beyond ``end``, and where the next one begins; none: there is none whole."""
        size = CHUNK if end is None else max(0, min(CHUNK, end - position))
        data = os.pread(self._descriptor, size, position)
        records: list[LogRecord] = []
        at = 0
        while (found := decode_record(data, at)) is not None:
            record, at = found
            records.append(record)
        return records, position + at


def from_last(folder: Path) -> Iterator[Segment]:
    """The segments whose headers are whole, newest first, each closed when the next one is asked for."""
    for number in reversed(numbers(folder)):
        segment = Segment.open(folder, number)
        if segment is not None:
            try:
                yield segment
            finally:
                segment.close()
