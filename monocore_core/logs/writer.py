"""The one writer of a log.

Calls are short and do not wait for the disk: a record is one ``pwrite`` into the page cache. They never fail for want of
space: the log's own oldest segments go first, then new output is dropped, and a note says how much as soon as there is space again.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from monocore_core.errors import Conflict
from monocore_core.keyed import make_private, storage_errors, take
from monocore_core.logs import segments
from monocore_core.logs.bell import Bell
from monocore_core.logs.format import (
    MAX_DATA,
    MAX_POSITIONS,
    MAX_RECORD,
    Header,
    encode_header,
    encode_record,
)
from monocore_core.logs.values import LogLimits, LogRecord, Stream, check_label

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOST = "the disk took nothing more"
_ATTEMPTS = 5
Key = tuple[str, Stream]


class LogWriter:
    """Appends to a log. Use :meth:`LogStore.open`; a context manager. Not to be called from two threads at once."""

    def __init__(self, folder: Path, limits: LogLimits, lock: int, bell: Bell) -> None:
        self._folder, self._limits, self._lock, self._bell = folder, limits, lock, bell
        self._file = -1
        self._number = self._end = self._begin = 0
        self._begun_ns: int | None = None
        self._high_ns = 0
        self._dropped = 0
        self._positions: dict[Key, int] = {}
        self._lost: dict[Key, int] = {}

    @classmethod
    def open(cls, folder: Path, limits: LogLimits, bell: Bell) -> LogWriter:
        """Continue the log in ``folder``, or begin it: a torn tail is cut, and how far each stream got is read.

        Raises:
            Conflict: another writer has it.
            StorageError: the host's disk refused.
        """
        with storage_errors(folder):
            writer = cls(folder, limits, _lock(folder), bell)
            try:
                writer._resume()
            except BaseException:
                writer._release()
                raise
        bell.closed = False
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is written: followers get what there is, and end. A repeat does nothing."""
        if self._lock >= 0:
            self._release()
            self._bell.closed = True
            self._bell.ring()

    @property
    def last_ns(self) -> int:
        """The latest time of any record, 0 when there is none."""
        return self._high_ns

    def written(self, label: str, stream: Stream) -> int:
        """How many bytes of a process's stream are held, or given up: where it goes on, and what may be acknowledged."""
        return self._positions.get((label, stream), 0)

    def append(self, label: str, stream: Stream, offset: int, data: bytes, *, time_ns: int) -> int:
        """Put output at the end of the log; gives :meth:`written`.

        What is there already, by its offset, is left out. Where something is missing before ``offset``, a note says so.

        Args:
            label: of the run or the process.
            stream: stdout or stderr.
            offset: of ``data`` in that stream.
            data: any number of bytes.
            time_ns: when they arrived, nanoseconds since the epoch.

        Raises:
            InvalidInput: ``label`` is none.
        """
        key = (check_label(label), stream)
        position = self._positions.get(key, 0)
        if offset + len(data) <= position:
            return position
        if self._lost:
            self._tell_losses(time_ns)
        if offset > position:
            self._say(label, f"{offset - position} bytes of {stream} are missing here", time_ns)
            position = offset
        view = memoryview(data)[position - offset :]
        for start in range(0, len(view), MAX_DATA):
            piece = bytes(view[start : start + MAX_DATA])
            if not self._put(LogRecord(stream, time_ns, label, position, piece)):
                self._lost[key] = self._lost.get(key, 0) + len(piece)
            position += len(piece)
            self._move(key, position)
        self._bell.ring()
        return position

    def end(self, label: str, stream: Stream, *, time_ns: int) -> None:
        """Say that a stream has ended: a last line without a newline is one."""
        self._put(LogRecord(stream, time_ns, check_label(label), self.written(label, stream), b""))
        self._bell.ring()

    def note(self, label: str, text: str, *, time_ns: int) -> None:
        """Add a sentence of the system's. One that the disk does not take is dropped."""
        self._say(check_label(label), text, time_ns)
        self._bell.ring()

    def retire(self, before_ns: int) -> None:
        """Begin a new segment when the present one holds nothing later than ``before_ns``, so that a sweep can take it."""
        if self._lock >= 0 and self._begun_ns is not None and self._high_ns <= before_ns:
            with suppress(OSError):
                self._rotate()

    def _resume(self) -> None:
        """Find the last segment that has a header, and its end. A header is torn by a crash in the middle of a rotation."""
        for number in reversed(segments.numbers(self._folder)):
            segment = segments.Segment.open(self._folder, number)
            if segment is None:
                segments.path_of(self._folder, number).unlink(missing_ok=True)
                continue
            try:
                self._take_over(number, segment)
            finally:
                segment.close()
            return

    def _take_over(self, number: int, segment: segments.Segment) -> None:
        for label, stream, offset in segment.header.positions:
            self._move((label, stream), offset)
        self._high_ns = segment.header.high_ns
        position = segment.start
        while True:
            records, after = segment.chunk(position)
            if not records:
                break
            position = after
            for record in records:
                self._remember(record)
        self._file = os.open(segments.path_of(self._folder, number), os.O_RDWR | os.O_CLOEXEC)
        self._number, self._begin, self._end = number, segment.start, position
        cut = os.fstat(self._file).st_size - position
        os.ftruncate(self._file, position)
        if cut > MAX_RECORD:  # more than the record that was being written
            self._say("log", f"{cut} damaged bytes were cut", self._high_ns)

    def _remember(self, record: LogRecord) -> None:
        if self._begun_ns is None:
            self._begun_ns = record.time_ns
        self._high_ns = max(self._high_ns, record.time_ns)
        if record.stream is not Stream.NOTE:
            self._move((record.label, record.stream), record.offset + len(record.data))

    def _move(self, key: Key, position: int) -> None:
        """Note how far a stream is; it becomes the last to be forgotten."""
        self._positions.pop(key, None)
        self._positions[key] = position
        if len(self._positions) > MAX_POSITIONS:
            forgotten = next(iter(self._positions))
            del self._positions[forgotten]
            self._lost.pop(forgotten, None)

    def _tell_losses(self, time_ns: int) -> None:
        for (label, stream), count in list(self._lost.items()):
            if not self._say(label, f"{count} bytes of {stream} were dropped: {_LOST}", time_ns):
                return
            del self._lost[label, stream]
        if self._dropped:
            self._say("log", f"{self._dropped} old segments were removed: {_LOST}", time_ns)
            self._dropped = 0

    def _say(self, label: str, text: str, time_ns: int) -> bool:
        data = text.encode(errors="replace")[:MAX_DATA]
        return self._put(LogRecord(Stream.NOTE, time_ns, label, 0, data))

    def _put(self, record: LogRecord) -> bool:
        """Write one record; gives whether the disk took it."""
        if self._lock < 0:
            raise Conflict(f"log {self._folder.name!r} was closed")
        encoded = encode_record(record)
        while True:
            try:
                if self._must_rotate(len(encoded), record.time_ns):
                    self._rotate()
                _write(self._file, encoded, self._end)
            except OSError as error:
                if error.errno in _FULL and self._drop_oldest():
                    continue
                return False
            self._end += len(encoded)
            if self._begun_ns is None:
                self._begun_ns = record.time_ns
            self._high_ns = max(self._high_ns, record.time_ns)
            return True

    def _must_rotate(self, size: int, time_ns: int) -> bool:
        if self._file < 0:
            return True
        if self._begun_ns is None:
            return False
        old = time_ns - self._begun_ns > self._limits.age / 8 * 1e9
        return old or self._end - self._begin + size > self._limits.segment_bytes

    def _rotate(self) -> None:
        """Begin the next segment, and remove the oldest ones beyond the limit.

        Raises:
            OSError: the disk refused; the present segment stays the last.
        """
        number = self._number + 1
        path = segments.path_of(self._folder, number)
        positions = tuple((label, stream, offset) for (label, stream), offset in self._positions.items())
        header = encode_header(Header(number, self._high_ns, positions))
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, header, 0)
        except BaseException:
            os.close(file)
            path.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number = file, number
        self._begin = self._end = len(header)
        self._begun_ns = None
        self._trim()

    def _trim(self) -> None:
        sizes = [(number, _size(segments.path_of(self._folder, number))) for number in self._sealed()]
        total = sum(size for _, size in sizes) + self._limits.segment_bytes
        for number, size in sizes[:-1]:
            if total <= self._limits.sandbox_bytes:
                return
            segments.path_of(self._folder, number).unlink(missing_ok=True)
            total -= size

    def _sealed(self) -> list[int]:
        return [number for number in segments.numbers(self._folder) if number < self._number]

    def _drop_oldest(self) -> bool:
        """Make room with our own oldest segment; gives whether there was one."""
        for number in self._sealed():
            with suppress(OSError):
                segments.path_of(self._folder, number).unlink()
                self._dropped += 1
                return True
        return False

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        os.close(self._lock)
        self._file = self._lock = -1


def _lock(folder: Path) -> int:
    """The writer's lock. A sweep may be removing the folder: then it is made again."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            make_private(folder)
            lock = take(folder / segments.LOCK)
            if lock is not None:
                return lock
            if (folder / segments.LOCK).exists():
                break
    raise Conflict(f"log {folder.name!r} is being written already", hint="one daemon at a time keeps logs")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # swept meanwhile
        return 0


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of ``data``, or none.

    Raises:
        OSError: the disk took none, or not all of it.
    """
    count = os.pwrite(file, data, at)
    if count < len(data):
        with suppress(OSError):
            os.ftruncate(file, at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
