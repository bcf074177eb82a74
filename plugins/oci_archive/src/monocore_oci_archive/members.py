"""Documents and blobs by name, in an archive or a folder. Nothing is extracted: a name leads to a piece of an open file."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from attrs import frozen

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, Unsupported
from monocore_core.interfaces.image_source import MAX_DOCUMENT
from monocore_core.layertar import Entry, EntryKind, Limits, read_layer
from monocore_core.model.digest import Digest
from monocore_oci_archive.inputs import READ, reading
from monocore_oci_archive.stopping import Stop

#: Files in one archive: an image has some hundreds at most.
MAX_MEMBERS = 100_000
#: Links that lead to one another.
MAX_LINKS = 16
_MIB = 1024 * 1024


@frozen
class Piece:
    """``size`` bytes at ``position`` of an open file."""

    fd: int
    position: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; fewer at the end, or where the file has become shorter."""
        return os.pread(self.fd, min(size, self.size - offset), self.position + offset)


class Members(Protocol):
    """What an archive or a folder holds. Used by several threads at once."""

    @property
    def what(self) -> str:
        """For messages."""
        ...

    def open(self, name: str) -> AbstractContextManager[Piece]:
        """The piece of that name, readable inside the context.

        Raises:
            NotFound: there is none.
            Corrupt, Unsupported: it is no file, or no plain one.
        """
        ...

    def close(self) -> None:
        """Close what is open. A repeat does nothing."""
        ...


@frozen
class TarMembers:
    """Members of a tar by their cleaned names."""

    what: str
    fd: int
    entries: Mapping[bytes, Entry]

    @contextmanager
    def open(self, name: str) -> Generator[Piece]:
        """See :class:`Members`."""
        entry = self._find(os.fsencode(name))
        if entry.segments is not None:
            raise Unsupported(
                f"{self.what}: {name} is stored as a sparse file", hint="make the archive without --sparse"
            )
        yield Piece(self.fd, entry.position, entry.size)

    def close(self) -> None:
        """See :class:`Members`."""
        os.close(self.fd)

    def _find(self, name: bytes) -> Entry:
        path = _normal(name)
        for _ in range(MAX_LINKS):
            entry = self.entries.get(path) if path is not None else None
            if entry is None:
                raise NotFound(f"{self.what} has no {os.fsdecode(name)}")
            if entry.kind is EntryKind.FILE:
                return entry
            if entry.kind is EntryKind.HARDLINK:
                path = entry.link
            elif entry.kind is EntryKind.SYMLINK:
                path = _normal(entry.path.rpartition(b"/")[0] + b"/" + entry.link)
            else:
                raise Corrupt(f"{self.what}: {os.fsdecode(name)} is a {entry.kind.value} instead of a file")
        raise Corrupt(f"{self.what}: {os.fsdecode(name)} leads through more than {MAX_LINKS} links")


def _normal(path: bytes) -> bytes | None:
    """A path without empty, ``.`` and ``..`` parts; None when it climbs out."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
    return b"/".join(parts)


def index_tar(what: str, fd: int, stop: Stop) -> TarMembers:
    """The members of a tar, by one pass over its headers. The descriptor is then the members'.

    Raises:
        Corrupt: malformed, or the same file twice (tools disagree about which counts).
        LimitExceeded: more entries than are allowed.
    """
    limits = Limits(entries=MAX_MEMBERS, metadata=64 * _MIB, segments=10_000)
    entries: dict[bytes, Entry] = {}
    with open(os.dup(fd), "rb") as stream:  # noqa: PTH123 - a descriptor
        try:
            for event in read_layer(stream, limits=limits):
                stop.check()
                if not isinstance(event, Entry) or event.kind is EntryKind.DIRECTORY:
                    continue
                if entries.setdefault(event.path, event) is not event:
                    raise _twice(event)
        except (Corrupt, LimitExceeded, Unsupported) as error:
            problem = "" if entries else "it is no tar archive: "
            raise type(error)(f"{what}: {problem}{error.brief}", hint=error.hint) from error
    return TarMembers(what, fd, entries)


def _twice(entry: Entry) -> Corrupt:
    return Corrupt(f"{os.fsdecode(entry.path)} stands in it twice")


@frozen
class FolderMembers:
    """Files below a folder. Symlinks are followed, as their owner wants it; digests tell whether they lead to the right bytes."""

    what: str
    path: str

    @contextmanager
    def open(self, name: str) -> Generator[Piece]:
        """See :class:`Members`."""
        inside = _normal(os.fsencode(name))
        if inside is None:
            raise NotFound(f"{self.what} has no {name}")
        path = f"{self.path}/{os.fsdecode(inside)}"
        with reading(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Corrupt(f"{path} is not a file")
            yield Piece(fd, 0, found.st_size)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is open."""


def read_document(members: Members, name: str) -> bytes:
    """A small member, whole.

    Raises:
        NotFound: there is none; LimitExceeded: it is larger than a document may be; Corrupt: it has become shorter.
    """
    with members.open(name) as piece, reading(members.what):
        if piece.size > MAX_DOCUMENT:
            raise LimitExceeded(f"{members.what}: {name} has {piece.size} bytes, more than {MAX_DOCUMENT}")
        data = piece.read(0, piece.size)
        if len(data) != piece.size:
            raise Corrupt(f"{members.what}: {name} has changed while it was read")
        return data


def hash_piece(piece: Piece, what: str, stop: Stop) -> Digest:
    """SHA-256 of a piece.

    Raises:
        Corrupt: it has become shorter.
    """
    hasher, offset = Digest.of(b"").hasher(), 0
    while offset < piece.size:
        stop.check()
        data = piece.read(offset, READ)
        if not data:
            raise Corrupt(f"{what} has become shorter while it was read")
        hasher.update(data)
        offset += len(data)
    return Digest("sha256", hasher.hexdigest())


def checked_number(number: int, count: int, what: str) -> int:
    """An index within bounds.

    Raises:
        InvalidInput: it is not.
    """
    if number >= count:
        raise InvalidInput(f"{what} has no image @{number}", hint=f"it has {count}, counted from @0")
    return number
