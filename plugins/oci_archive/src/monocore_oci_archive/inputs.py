"""A file or a pipe as something to seek in: itself where it can be, else unpacked into a file without a name.

That file is deleted by the kernel when it is closed, however the process ends.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

from monocore_core.errors import InvalidInput, LimitExceeded, NotFound, StorageError
from monocore_core.inflate import is_zeros
from monocore_core.inflate.archives import MAGIC_LENGTH, compression_of
from monocore_oci_archive.decompress import Decompressor
from monocore_oci_archive.options import ArchiveOptions
from monocore_oci_archive.stopping import Stop

READ = 1024 * 1024
#: How many times larger than its compressed form an archive may be, once it is larger than so many bytes.
_RATIO, _RATIO_FROM = 250, 4 * 1024**3
#: Bytes between two looks at the free space.
_LOOK = 64 * 1024 * 1024
#: A file that changed so recently may change again without another time stamp, nanoseconds.
_FRESH = 1_000_000_000
STDIN = "/dev/stdin"


@contextmanager
def reading(path: str) -> Generator[None]:
    """Turn every :class:`OSError` of the block into an error that names the path."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no {path}", hint="check the path, and the name behind its colon") from error
    except PermissionError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}",
            hint="run as a user who may read it, or change its permissions",
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


@frozen
class Fingerprint:
    """What a file or folder looked like.

    Attributes:
        text: equal while it has not changed.
        lasting: it can be relied on later: no pipe, and nothing in it changed a moment ago.
    """

    text: str
    lasting: bool


def settled(newest_ns: int) -> bool:
    """Whether what changed last at that time cannot change again unnoticed."""
    return newest_ns < time.time_ns() - _FRESH


def file_fingerprint(path: str) -> Fingerprint:
    """Of a file, a pipe, or a folder without what is in it.

    Raises:
        NotFound, StorageError: it is not there, or may not be looked at.
    """
    with reading(path):
        found = os.stat(path)  # noqa: PTH116 - the path may have any bytes in it
    if not stat.S_ISREG(found.st_mode):
        return Fingerprint(f"{stat.S_IFMT(found.st_mode)}:{found.st_dev}:{found.st_ino}", lasting=False)
    times = f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
    return Fingerprint(f"file:{found.st_dev}:{found.st_ino}:{times}", settled(found.st_ctime_ns))


@define(eq=False)
class Spool:
    """A nameless temporary file that grows, within bounds. Blocks of zeros become holes."""

    path: str
    options: ArchiveOptions
    fd: int
    size: int = 0
    _looked: int = field(default=-_LOOK, init=False)

    @classmethod
    @contextmanager
    def make(cls, path: str, cache: Path, options: ArchiveOptions) -> Generator[Spool]:
        """A fresh one in ``cache``, closed at the end. ``path`` is what it is made of, for messages."""
        try:
            with tempfile.TemporaryFile(dir=cache, prefix="spool-") as file:
                yield cls(path, options, file.fileno())
        except OSError as error:
            raise StorageError(
                f"cannot unpack {path} into {cache}: {error.strerror or error}",
                hint="free space on that file system, or choose another folder with --home",
            ) from error

    def write(self, block: bytes | memoryview) -> None:
        """Append at most :data:`BLOCK` bytes.

        Raises:
            LimitExceeded, StorageError: beyond a bound.
        """
        self.size += len(block)
        if self.size > self.options.max_archive:
            raise LimitExceeded(
                f"{self.path} has more than {self.options.max_archive} bytes uncompressed",
                hint="raise plugins.oci_archive.max_archive if you trust it",
            )
        if self.size - self._looked >= _LOOK:
            self._looked = self.size
            self._check_space()
        if is_zeros(block):
            return
        view, position = memoryview(block), self.size - len(block)
        while view:
            written = os.pwrite(self.fd, view, position)
            view, position = view[written:], position + written

    def finish(self) -> int:
        """Give the file its full length; gives a descriptor for reading that outlives this object."""
        os.ftruncate(self.fd, self.size)
        return os.dup(self.fd)

    def _check_space(self) -> None:
        found = os.fstatvfs(self.fd)
        if found.f_bavail * found.f_frsize < self.options.reserve:
            raise StorageError(
                f"cannot unpack {self.path}: less than {self.options.reserve} bytes would be left free",
                hint="free space, choose another folder with --home, or lower plugins.oci_archive.reserve",
            )


def open_input(
    path: str, cache: Path, options: ArchiveOptions, decompressor: Decompressor, stop: Stop
) -> int:
    """A descriptor of the uncompressed bytes, which can be sought; the caller closes it.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is a folder, or a terminal.
        Corrupt: its compressed data is damaged.
        LimitExceeded: it becomes too large.
        StorageError: it cannot be read, or there is no room to unpack it.
    """
    with reading(path):
        fd = _open(path)
        try:
            kind = os.fstat(fd).st_mode
            if stat.S_ISDIR(kind):
                raise InvalidInput(
                    f"{path} is a folder", hint=f"oci:{path} for an OCI layout, rootfs:{path} for a root"
                )
            if os.isatty(fd):
                raise InvalidInput(
                    f"{path} is a terminal", hint="give a file, or send an archive through a pipe"
                )
            if stat.S_ISREG(kind) and not compression_of(os.pread(fd, MAGIC_LENGTH, 0)):
                return os.dup(fd)
            read = _reader(fd, stop, regular=stat.S_ISREG(kind))
            with Spool.make(path, cache, options) as spool:
                _unpack(read, spool, decompressor, stop)
                return spool.finish()
        finally:
            os.close(fd)


def _open(path: str) -> int:
    if path == STDIN:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a socket, or of another user
            return os.dup(0)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def _reader(fd: int, stop: Stop, *, regular: bool) -> Callable[[], bytes]:
    def read() -> bytes:
        if not regular:
            stop.wait_readable(fd)
        stop.check()
        return os.read(fd, READ)

    return read


def _unpack(read: Callable[[], bytes], spool: Spool, decompressor: Decompressor, stop: Stop) -> None:
    first = read()
    if not first:
        raise InvalidInput(f"{spool.path} is empty")
    received, pending = 0, [first]

    def counted() -> bytes:
        nonlocal received
        data = pending.pop() if pending else read()
        received += len(data)
        return data

    def write(block: bytes | memoryview) -> None:
        spool.write(block)
        if spool.size > max(_RATIO_FROM, received * _RATIO):
            raise LimitExceeded(f"{spool.path} is more than {_RATIO} times larger uncompressed")

    decompressor.run(counted, write, stop.set)
