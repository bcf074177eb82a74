"""All logs of one home folder."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Conflict, InvalidInput
from monocore_core.keyed import erase, storage_errors, take
from monocore_core.logs import segments
from monocore_core.logs.bell import Bell
from monocore_core.logs.reader import LogReader
from monocore_core.logs.values import LogLimits, Swept
from monocore_core.logs.writer import LogWriter

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


@frozen
class _File:
    """A segment that may be removed."""

    changed_ns: int
    size: int
    path: Path


class LogStore:
    """Logs by key, one folder each. Any process may read; the one that has the writers sweeps."""

    def __init__(self, root: Path, limits: LogLimits) -> None:
        self._root, self._limits = root, limits
        self._bells: dict[str, Bell] = {}
        self._writers: dict[str, LogWriter] = {}

    def open(self, key: str) -> LogWriter:
        """Continue the log of a sandbox, or begin it. Close it, and followers end.

        Raises:
            InvalidInput: ``key`` is none.
            Conflict: another writer has it.
            StorageError: the host's disk refused.
        """
        writer = LogWriter.open(self.folder(key), self._limits, self._bell(key))
        self._writers[key] = writer
        return writer

    def reader(self, key: str) -> LogReader:
        """For a log, which need not exist yet.

        Raises:
            InvalidInput: ``key`` is none.
        """
        return LogReader(self.folder(key), self._bell(key))

    def folder(self, key: str) -> Path:
        """Where a log is, or would be.

        Raises:
            InvalidInput: ``key`` is none.
        """
        if not _KEY.match(key):
            raise InvalidInput(f"{key[:140]!r} is not the key of a log")
        return self._root / key

    def keys(self) -> list[str]:
        """Of all logs, in order."""
        try:
            with os.scandir(self._root) as entries:
                return sorted(entry.name for entry in entries if _KEY.match(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return []

    def remove(self, key: str) -> None:
        """Remove a log. An unknown key is not an error.

        Raises:
            Conflict: it is being written.
            StorageError: the host's disk refused.
        """
        folder = self.folder(key)
        with storage_errors(folder), _idle(folder) as idle:
            if not idle:
                raise Conflict(f"log {key!r} is being written", hint="stop the sandbox first")
            erase(folder)
        self._bells.pop(key, None)
        self._writers.pop(key, None)

    def size(self) -> int:
        """Bytes of all segments."""
        return sum(file.size for key in self.keys() for file in _files(self.folder(key)))

    def sweep(self, now_ns: int) -> Swept:
        """Remove what is older than the limit, then the oldest of what is too much. A segment that is being written stays.

        To be called from the thread of the writers, every few minutes; it looks at each segment once (a hundred a millisecond).

        Raises:
            StorageError: the host's disk refused.
        """
        before = now_ns - int(self._limits.age * 1e9)
        for writer in self._writers.values():
            writer.retire(before)
        removed = Swept()
        with storage_errors(self._root):
            files: list[_File] = []
            total = 0
            for key in self.keys():
                swept, kept, size = self._sweep_one(self.folder(key), before)
                removed = Swept(removed.segments + swept.segments, removed.size + swept.size)
                files += kept
                total += size
            for file in sorted(files, key=lambda file: file.changed_ns):
                if total <= self._limits.total_bytes:
                    break
                file.path.unlink(missing_ok=True)
                total -= file.size
                removed = Swept(removed.segments + 1, removed.size + file.size)
        return removed

    def _sweep_one(self, folder: Path, before: int) -> tuple[Swept, list[_File], int]:
        """Remove what is too old of one log; gives that, what else may be removed, and how much remains."""
        with _idle(folder) as idle:
            files = list(_files(folder))
            free = files if idle else files[:-1]
            old = [file for file in free if file.changed_ns < before]
            for file in old:
                file.path.unlink(missing_ok=True)
            if idle and len(old) == len(files):
                erase(folder)
            size = sum(file.size for file in old)
            # the last one tells the next writer how far the streams are: it goes by age alone
            kept = [file for file in files[:-1] if file not in old]
            return Swept(len(old), size), kept, sum(file.size for file in files) - size

    def _bell(self, key: str) -> Bell:
        return self._bells.setdefault(key, Bell())


@contextmanager
def _idle(folder: Path) -> Generator[bool]:
    """Whether nobody writes a log; nobody begins to meanwhile."""
    lock = None
    with suppress(FileNotFoundError):
        lock = take(folder / segments.LOCK)
    try:
        yield lock is not None or not folder.exists()
    finally:
        if lock is not None:
            os.close(lock)


def _files(folder: Path) -> Iterator[_File]:
    """The segments of a log, oldest first."""
    for number in segments.numbers(folder):
        path = segments.path_of(folder, number)
        with suppress(FileNotFoundError):
            found = path.stat()
            yield _File(found.st_mtime_ns, found.st_size, path)
