"""Small steps on the disk that either happened or did not, and what the disk's refusals mean to a person."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from monocore_core.errors import StorageError
from monocore_core.keyed import disk_hint, sync_folder

#: Called with a name between two steps on the disk. Tests end the process there; nothing else uses it.
Checkpoint = Callable[[str], None]

_SYNC_FILE_RANGE_WRITE = 2


def no_checkpoint(name: str) -> None:
    """Nothing happens between steps."""
    del name


def storage_error(what: str, error: OSError) -> StorageError:
    """The error to raise for a failed system call; ``what`` says what was to be done, as in ``write layer …``."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return StorageError(f"cannot {what}: {reason}", hint=disk_hint(error))


@contextmanager
def storage_errors(what: str) -> Generator[None]:
    """Turn every :class:`OSError` of the block into a :class:`StorageError` that says what was to be done."""
    try:
        yield
    except OSError as error:
        raise storage_error(what, error) from error


def make_directory(path: Path) -> None:
    """Make a folder with mode 0700, and its parents. An existing one is left alone."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Let the kernel begin to write these bytes, so that a later fsync has little to wait for (sync_file_range(2)).

    Only advice: where the call is missing or refused, nothing happens.
    """
    call = _sync_file_range()
    if call is not None:
        call(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


def sync_data(fd: int) -> None:
    """Sync a file's bytes, and what finding them takes; all of the file where there is no such call."""
    getattr(os, "fdatasync", os.fsync)(fd)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # noqa: PLC0415 - 5 ms that only a transfer needs

    try:
        function = ctypes.CDLL(None).sync_file_range
    except AttributeError:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


def publish(temporary: Path, target: Path) -> None:
    """Give a finished, synced file its name, replacing what has it. After a crash the name has the old file or the new."""
    temporary.replace(target)
    sync_folder(target.parent)


def remove_tree(path: Path) -> None:
    """Delete a file or a folder with everything below it; what is gone already is no error. Follows no symlink."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        if os.path.lexists(path):  # something below vanished while we walked: once more
            shutil.rmtree(path, ignore_errors=True)
