"""Records to lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from monocore_core.logs.values import LogLine, LogRecord, Stream

MAX_LINE = 1 << 16
#: Unfinished lines that are kept at once; the one begun first is given as it is when there are more.
MAX_UNFINISHED = 64


@define
class _Unfinished:
    time_ns: int
    offset: int
    data: bytearray


class Lines:
    """Puts lines together; each stream of each process has its own unfinished one."""

    def __init__(self) -> None:
        self._unfinished: dict[tuple[str, Stream], _Unfinished] = {}

    def feed(self, record: LogRecord) -> Iterator[LogLine]:
        """The lines that ``record`` ends."""
        key = (record.label, record.stream)
        if record.stream is Stream.NOTE:
            yield LogLine(record.stream, record.time_ns, record.label, 0, record.data)
            return
        rest = self._unfinished.get(key)
        if rest is not None and (not record.data or rest.offset + len(rest.data) != record.offset):
            yield from self._take(key)  # the stream ended, or something is missing between the two
        start = 0
        while start < len(record.data):
            end = record.data.find(b"\n", start)
            stop = len(record.data) if end < 0 else end
            if end >= 0 and key not in self._unfinished and end - start <= MAX_LINE:  # nearly every line
                data = record.data[start:end]
                yield LogLine(record.stream, record.time_ns, record.label, record.offset + start, data)
            else:
                yield from self._add(key, record, start, stop)
                if end >= 0:
                    yield self._end(key)
            start = stop + 1
        while len(self._unfinished) > MAX_UNFINISHED:
            yield from self._take(next(iter(self._unfinished)))

    def flush(self) -> Iterator[LogLine]:
        """What no newline has ended, first begun first."""
        for key in list(self._unfinished):
            yield from self._take(key)

    def _add(self, key: tuple[str, Stream], record: LogRecord, start: int, stop: int) -> Iterator[LogLine]:
        """Put bytes without a newline to the unfinished line; gives pieces of one that is too long."""
        while start < stop:
            rest = self._unfinished.get(key)
            if rest is None:
                rest = self._unfinished[key] = _Unfinished(record.time_ns, record.offset + start, bytearray())
            elif len(rest.data) == MAX_LINE:
                yield from self._take(key)
                continue
            taken = min(stop - start, MAX_LINE - len(rest.data))
            rest.data += record.data[start : start + taken]
            start += taken

    def _end(self, key: tuple[str, Stream]) -> LogLine:
        rest = self._unfinished.pop(key)
        return LogLine(key[1], rest.time_ns, key[0], rest.offset, bytes(rest.data))

    def _take(self, key: tuple[str, Stream]) -> Iterator[LogLine]:
        rest = self._unfinished.pop(key)
        yield LogLine(key[1], rest.time_ns, key[0], rest.offset, bytes(rest.data), complete=False)
