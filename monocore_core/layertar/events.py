"""What a layer tar says, in order: an entry to make, a path to remove (whiteout), a folder to empty (opaque).

Paths are bytes, relative to the root, cleaned: no leading ``/`` or ``./``, no ``.`` or ``..`` parts, no empty parts,
no NUL; the root itself is ``b""``. A path that would climb above the root is an error, not an event. Symlinks in a path's
parents are not looked at here: a merger resolves them inside the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen


class EntryKind(Enum):
    """Type of a file."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


@frozen
class Segment:
    """A run of a sparse file's data: ``length`` bytes at ``offset`` of the file stand at ``position`` of the tar."""

    offset: int
    length: int
    position: int


@frozen
class Entry:
    """A file to make.

    Attributes:
        path: cleaned; ``b""`` is the root directory's own entry.
        kind: type of file.
        mode: permission bits with setuid, setgid and sticky (``0o7777``).
        uid: owner.
        gid: group.
        mtime_ns: nanoseconds since the epoch, may be negative.
        size: logical bytes of a regular file, else 0.
        position: byte of the tar at which the data of a non-sparse regular file begins (a multiple of 512).
        segments: data of a sparse file, sorted and not overlapping; None for a file that is not sparse.
        link: target of a symlink, verbatim; of a hard link, a cleaned path inside the root.
        device: (major, minor) of a device node.
        xattrs: extended attributes by full name (``security.capability``).
    """

    path: bytes
    kind: EntryKind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    position: int = 0
    segments: tuple[Segment, ...] | None = None
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(factory=dict[bytes, bytes])


@frozen
class Whiteout:
    """``path`` of the lower layers is removed, with everything below it."""

    path: bytes


@frozen
class Opaque:
    """Everything that lower layers put below the folder ``path`` is removed, not the folder itself."""

    path: bytes


LayerEvent = Entry | Whiteout | Opaque
