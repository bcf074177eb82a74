"""Unpacking an archive that a guest made, which may be hostile: nothing is written outside the destination.

Every entry is written relative to the descriptor of its folder, which is reached name by name without following a link; what stands in
the way of a file is removed, never written through. There are no devices, and no set-ID bits unless they are asked for. The standard
library's reader takes headers of any size into memory, so it is given no more than honest ones need.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

from monocore_core.cli.failures import warn
from monocore_core.errors import Conflict, Corrupt, LimitExceeded, NotFound, StorageError

#: Entries of one archive, and parts of one name.
MAX_ENTRIES, MAX_DEPTH = 5_000_000, 256
#: Bytes of the headers of one entry, and what its reader takes at once beside.
MAX_HEADERS = 1024 * 1024
_CHUNK = 256 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Source(Protocol):
    """Where the archive comes from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, and less only at the end."""
        ...


class Metered:
    """A source that gives no more than it is told to."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = MAX_HEADERS

    def allow(self, content: int) -> None:
        """From here on there may come so many bytes, and the headers of an entry."""
        self._left = content + MAX_HEADERS

    def read(self, size: int = -1) -> bytes:
        """See :class:`Source`.

        Raises:
            LimitExceeded: it is more.
        """
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise LimitExceeded(f"the archive has an entry with more than {MAX_HEADERS} bytes of headers")
        return data


class Unpacking:
    """What is to become of an archive.

    Attributes:
        destination: a path of this host.
        content: of a folder, its content alone is meant.
        archive: keep owners and set-ID bits.
        label: what is copied, for messages.
    """

    def __init__(self, destination: str, *, content: bool, archive: bool, label: str) -> None:
        self.destination = destination
        self.content = content
        self.archive = archive
        self.label = label


def unpack(source: Source, what: Unpacking) -> None:
    """Unpack an archive of one file or folder, by Docker's rules.

    Raises:
        Conflict, NotFound: it cannot be there.
        Corrupt, LimitExceeded: the archive is malformed, names what is outside, or has too much.
        StorageError: the disk refuses.
    """
    metered = Metered(source)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", metered), mode="r|") as archive:
            first = _next(archive, metered)
            if first is None:
                return
            base, renamed = _place(first, what)
            root = len(_parts(first.name)) if _parts(first.name) else 0
            folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _unpack_all((archive, metered), first, folder, (root, renamed), keep=what.archive)
            finally:
                os.close(folder)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        # the last three of what the library, or the kernel's interface, finds in headers
        raise Corrupt(f"the archive of {what.label} is malformed: {str(error)[:200]}") from error
    except OSError as error:
        where = error.filename or what.destination
        raise StorageError(f"cannot write {where}: {error.strerror}") from error


def _place(first: tarfile.TarInfo, what: Unpacking) -> tuple[str, tuple[str, ...]]:
    """The folder to unpack into, and what stands there for the archive's first name."""
    path = what.destination
    own = tuple(_parts(first.name))[-1:]
    if Path(path).is_dir():
        return path, () if first.isdir() and what.content else own
    if first.isdir():
        if os.path.lexists(path):
            raise Conflict(f"{path} is a file, and {what.label} is a folder")
        Path(path).mkdir()
        return path, ()
    if path.endswith("/"):
        raise NotFound(f"there is no folder {path}")
    return str(Path(path).parent), (Path(path).name,)


def _next(archive: tarfile.TarFile, metered: Metered) -> tarfile.TarInfo | None:
    """The next entry, of the kinds that an agent writes; after that its content may come."""
    metered.allow(0)
    entry = archive.next()
    if archive.pax_headers:
        raise Corrupt("the archive has a header for all of its entries, which no agent writes")
    if entry is None:
        return None
    if entry.issparse() or entry.type not in tarfile.SUPPORTED_TYPES or entry.size < 0:
        raise Corrupt(f"the archive has an entry that no agent writes: {entry.name[:200]!r}")
    metered.allow(entry.size if entry.isreg() else 0)
    return entry


def _unpack_all(
    reading: tuple[tarfile.TarFile, Metered],
    first: tarfile.TarInfo,
    folder: int,
    renaming: tuple[int, tuple[str, ...]],
    *,
    keep: bool,
) -> None:
    archive, metered = reading
    dropped, before = renaming
    root = _parts(first.name)[:dropped]
    entry: tarfile.TarInfo | None = first
    modes: list[tuple[tuple[str, ...], tarfile.TarInfo]] = []
    count = 0
    while entry is not None:
        count += 1
        if count > MAX_ENTRIES:
            raise LimitExceeded(f"the archive has more than {MAX_ENTRIES} entries")
        parts = (*before, *_below(root, _parts(entry.name)))
        if entry.islnk():
            _link(folder, parts, (*before, *_below(root, _parts(entry.linkname))))
        elif parts:
            _write(archive, entry, folder, parts, keep=keep)
        if entry.isdir() and parts:
            modes.append((parts, entry))
        vars(archive)["members"].clear()  # it remembers every entry, which would grow with the archive
        entry = _next(archive, metered)
    for parts, one in reversed(modes):  # at the end: a folder may be one that not even its owner may write to
        with _parent(folder, parts) as parent:
            fd = os.open(parts[-1], _FOLDER, dir_fd=parent)
            try:
                _attributes(fd, one, keep=keep)
            finally:
                os.close(fd)


def _below(root: Sequence[str], parts: Sequence[str]) -> Sequence[str]:
    if parts[: len(root)] != root:
        raise Corrupt(f"the archive has an entry outside of what was asked for: {'/'.join(parts)[:200]!r}")
    return parts[len(root) :]


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > MAX_DEPTH or "\0" in name:
        raise Corrupt(f"the archive has an entry that is not allowed: {name[:200]!r}")
    return parts


@contextmanager
def _parent(folder: int, parts: Sequence[str]) -> Generator[int]:
    """The folder of an entry, made where it is missing; a link on the way is refused by the kernel."""
    fd = os.dup(folder)
    try:
        for part in parts[:-1]:
            try:
                inner = os.open(part, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=fd)
                inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _write(
    archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: int, parts: Sequence[str], *, keep: bool
) -> None:
    name = parts[-1]
    with _parent(folder, parts) as parent:
        if entry.isdir():
            _make_folder(parent, name)
        elif entry.isreg():
            _clear(parent, name)
            fd = os.open(
                name,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=parent,
            )
            with os.fdopen(fd, "wb") as stream:
                content = archive.extractfile(entry)
                while content is not None and (data := content.read(_CHUNK)):
                    stream.write(data)
                stream.flush()
                _attributes(fd, entry, keep=keep)
        elif entry.issym():
            _clear(parent, name)
            os.symlink(entry.linkname, name, dir_fd=parent)
            if keep and os.geteuid() == 0:
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        else:
            warn(f"warning: {'/'.join(parts)} is a device, a pipe or a socket, and left out")


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        os.close(os.open(name, _FOLDER, dir_fd=parent))  # refuses what is none


def _clear(parent: int, name: str) -> None:
    """Remove what has the name of a file that is to be written; a folder is refused."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _link(folder: int, parts: Sequence[str], target: Sequence[str]) -> None:
    """A further name of a file that came before: both ends are reached without following a link."""
    if not parts or not target:
        raise Corrupt("the archive has a hard link to nothing")
    with _parent(folder, target) as old, _parent(folder, parts) as new:
        if not stat.S_ISREG(os.stat(target[-1], dir_fd=old, follow_symlinks=False).st_mode):
            raise Corrupt("the archive has a hard link to what is no file")
        _clear(new, parts[-1])
        os.link(target[-1], parts[-1], src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)


def _attributes(fd: int, entry: tarfile.TarInfo, *, keep: bool) -> None:
    """Permissions and time; owner and set-ID bits only when they are to be kept."""
    if keep and os.geteuid() == 0:
        os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode & (0o7777 if keep else 0o777))
    os.utime(fd, (entry.mtime, entry.mtime))
