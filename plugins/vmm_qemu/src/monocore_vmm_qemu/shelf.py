"""Templates on disk: a file each under its key, the least recently used of which go when there are too many bytes.

::

    <folder>/<key>.template        whole, or not there
    <folder>/<key>.lock            held by whoever makes it
    <folder>/<key>.work/           what the maker's machine has; without a holder of the lock, what a dead one left
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from monocore_core.errors import StorageError
from monocore_core.keyed.locks import take
from monocore_vmm_qemu.capture import clear
from monocore_vmm_qemu.image import Captured, load, save

_SUFFIX = ".template"


class Shelf:
    """The templates of one backend.

    Args:
        folder: made when needed.
        limit: bytes.
        gone: is told the key of what a maker was making that died.
    """

    def __init__(self, folder: Path, limit: int, gone: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self._limit = limit
        self._gone = gone

    def has(self, key: str) -> bool:
        """Whether there is a template."""
        return self._path(key).exists()

    def load(self, key: str, memory: int) -> Captured | None:
        """A template, or None where there is none.

        Raises:
            Corrupt: it is damaged; drop it.
            StorageError: it cannot be read.
        """
        path = self._path(key)
        try:
            captured = load(path, memory)
            with suppress(OSError):
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        return captured

    def drop(self, key: str) -> None:
        """Remove a template. An unknown key is not an error."""
        with suppress(OSError):
            self._path(key).unlink()

    @contextmanager
    def making(self, key: str) -> Generator[Path | None]:
        """The folder for the machine that is captured, for as long as the context lasts; None while another process has it.

        Raises:
            StorageError: it cannot be made.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.sweep()
            lock = take(self._lock(key))
        except OSError as error:
            raise StorageError(f"{self._folder}: {error.strerror}") from error
        if lock is None:
            yield None
            return
        work = self._work(key)
        try:
            clear(work)
            work.mkdir(mode=0o700)
            yield work
        except OSError as error:
            raise StorageError(f"{work}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                clear(work)
                self._lock(key).unlink()
            os.close(lock)

    def keep(self, key: str, captured: Captured, work: Path) -> None:
        """Write a template where later processes find it, and make room.

        Raises:
            StorageError: the disk is full, or fails.
        """
        written = work / "template"
        try:
            save(captured, written)
            written.replace(self._path(key))
        except OSError as error:
            raise StorageError(f"{self._path(key)}: {error.strerror}") from error
        self._bound(key)

    def _bound(self, newest: str) -> None:
        """Remove the templates that were not used for longest, until the rest fits."""
        found: list[tuple[int, int, Path]] = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                return
            if path != self._path(newest):
                path.unlink(missing_ok=True)
                total -= size

    def sweep(self) -> None:
        """Remove what makers have left that died."""
        for work in self._folder.glob("*.work"):
            lock_path = work.with_suffix(".lock")
            lock = take(lock_path)
            if lock is not None:
                with suppress(OSError):
                    self._gone(work.stem)
                    clear(work)
                    lock_path.unlink()
                os.close(lock)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _lock(self, key: str) -> Path:
        return self._folder / f"{key}.lock"

    def _work(self, key: str) -> Path:
        return self._folder / f"{key}.work"
