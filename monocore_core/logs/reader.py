"""Reading a log, by any number of readers in any process, while it is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

from monocore_core.concurrency import in_thread
from monocore_core.keyed import storage_errors
from monocore_core.logs.bell import Bell
from monocore_core.logs.lines import Lines
from monocore_core.logs.tail import find_tail, lines_between, tail_lines
from monocore_core.logs.values import LogLine, LogQuery, LogRecord, Stream
from monocore_core.logs.walk import Place, Walk, begin


class LogReader:
    """Reads one log; a log that does not exist is empty. Memory is bounded by a chunk (256 KiB) and unfinished lines.

    The plain methods block and end where the log ends now, in whichever process. The ``follow`` methods wait, without asking
    again and again, until the writer in this process is closed, and end at once where there is none. Where a follower is slower
    than rotation, what was removed is missing, as the offsets show.
    """

    def __init__(self, folder: Path, bell: Bell) -> None:
        self._folder, self._bell = folder, bell

    def records(self, query: LogQuery) -> Iterator[LogRecord]:
        """The bytes as they were written; with ``tail``, a record for each of the last lines.

        Raises:
            StorageError: the host's disk refused.
        """
        if query.tail is not None:
            yield from map(_as_record, self.lines(query))
            return
        with storage_errors(self._folder):
            walk = Walk(self._folder, query, begin(self._folder, query))
            try:
                while records := walk.batch():
                    yield from records
            finally:
                walk.close()

    def lines(self, query: LogQuery) -> Iterator[LogLine]:
        """The lines, in the order in which they ended; what no newline has ended comes last.

        Raises:
            StorageError: the host's disk refused.
        """
        with storage_errors(self._folder):
            if query.tail is None:
                yield from lines_between(self._folder, query, begin(self._folder, query), None)
            else:
                yield from tail_lines(self._folder, query, find_tail(self._folder, query, query.tail))

    async def follow_records(self, query: LogQuery) -> AsyncGenerator[LogRecord]:
        """As :meth:`records`, and then what is written, as soon as it is.

        Raises:
            StorageError: the host's disk refused.
        """
        with storage_errors(self._folder):
            first = await in_thread(lambda: begin(self._folder, query))
            if query.tail is not None:
                wanted = query.tail
                tail = await in_thread(lambda: find_tail(self._folder, query, wanted))
                first = tail.end
                lines = tail_lines(self._folder, query, tail)
                while some := await in_thread(lambda: _some(lines)):
                    for line in some:
                        yield _as_record(line)
            async with aclosing(self._batches(query, first)) as batches:
                async for records in batches:
                    for record in records:
                        yield record

    async def follow_lines(self, query: LogQuery) -> AsyncGenerator[LogLine]:
        """As :meth:`lines`, and then each line as soon as it is whole.

        Raises:
            StorageError: the host's disk refused.
        """
        with storage_errors(self._folder):
            first, skip, lines = await in_thread(lambda: begin(self._folder, query)), 0, Lines()
            if query.tail is not None:
                wanted = query.tail
                tail = await in_thread(lambda: find_tail(self._folder, query, wanted))
                first, skip = tail.begin, tail.skip
            async with aclosing(self._batches(query, first)) as batches:
                async for records in batches:
                    for line in (line for record in records for line in lines.feed(record)):
                        if skip:
                            skip -= 1
                        else:
                            yield line
            for line in lines.flush():
                yield line

    async def _batches(self, query: LogQuery, first: Place) -> AsyncGenerator[list[LogRecord]]:
        walk = Walk(self._folder, query, first)
        try:
            with self._bell.listening() as rung:
                while True:
                    rung.clear()
                    closed = self._bell.closed
                    records = await in_thread(walk.batch)
                    if records:
                        yield records
                    elif closed or walk.passed or not await _more(rung, query.until_ns):
                        return
        finally:
            walk.close()


async def _more(rung: asyncio.Event, until_ns: int | None) -> bool:
    """Wait until something was written; False when the time is over."""
    if until_ns is None:
        return await rung.wait()
    rest = (until_ns - time.time_ns()) / 1e9
    if rest <= 0:
        return False
    try:
        async with asyncio.timeout(rest):
            await rung.wait()
    except TimeoutError:
        pass  # a last look, and then the above
    return True


def _some(lines: Iterator[LogLine]) -> list[LogLine]:
    """The next few lines, 64 KiB or so."""
    found: list[LogLine] = []
    size = 0
    for line in lines:
        found.append(line)
        size += len(line.data) + 64
        if size > 1 << 16:
            break
    return found


def _as_record(line: LogLine) -> LogRecord:
    newline = b"\n" if line.complete and line.stream is not Stream.NOTE else b""
    return LogRecord(line.stream, line.time_ns, line.label, line.offset, line.data + newline)
