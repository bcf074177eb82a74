"""The host's disk: its refusals as our errors, and folders made durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from monocore_core.errors import StorageError

_HINTS = {
    errno.ENOSPC: "free space on that file system, or remove images: monocore images prune",
    errno.EDQUOT: "your quota is used up: remove files, or images with: monocore images prune",
    errno.EROFS: "the file system is mounted read-only: choose another folder with --home or $MONOCORE_HOME",
    errno.EACCES: "check the owner and permissions of the folder, or choose another with --home",
    errno.EPERM: "check the owner and permissions of the folder, or choose another with --home",
    errno.EIO: "the disk reports errors: see the kernel's log (dmesg)",
}


def disk_hint(error: OSError) -> str | None:
    """What a person can do about a refusal of the disk."""
    return _HINTS.get(error.errno or 0)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor_ = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor_)
    finally:
        os.close(descriptor_)


def sync_all(folder: Path) -> None:
    """Bring everything on the file system of ``folder`` to the disk: for thousands of new files one call, not thousands.

    Raises:
        OSError: something could not be written, perhaps of others.
    """
    import ctypes  # noqa: PLC0415 - finding what exists does not need it

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor_ = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor_):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor_)


@contextmanager
def storage_errors(folder: Path) -> Generator[None]:
    """Turn an ``OSError`` into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        name: object = error.filename or folder
        raise StorageError(f"{name}: {error.strerror or error}", hint=disk_hint(error)) from error


def make_private(folder: Path) -> None:
    """Make a folder, and those on the way to it, for this user alone, whatever the umask. One that exists is left as it is.

    Raises:
        OSError: the host's disk refused, or something else is there.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_file(path: Path, data: bytes | bytearray) -> None:
    """A new file for this user alone, on the disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
