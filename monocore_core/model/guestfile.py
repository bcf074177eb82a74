"""Files of a sandbox, as its guest tells of them: hence informative, never a name to use on the host unchecked.

Names and paths that are not UTF-8 hold surrogate escapes (PEP 383), as :func:`os.fsdecode` makes them, and survive the way back.
"""

from __future__ import annotations

import stat
from enum import StrEnum

from attrs import frozen


class FileKind(StrEnum):
    """What an entry is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    PIPE = "pipe"
    SOCKET = "socket"
    CHARACTER_DEVICE = "character-device"
    BLOCK_DEVICE = "block-device"
    UNKNOWN = "unknown"


_KINDS = {
    stat.S_IFREG: FileKind.FILE,
    stat.S_IFDIR: FileKind.FOLDER,
    stat.S_IFLNK: FileKind.LINK,
    stat.S_IFIFO: FileKind.PIPE,
    stat.S_IFSOCK: FileKind.SOCKET,
    stat.S_IFCHR: FileKind.CHARACTER_DEVICE,
    stat.S_IFBLK: FileKind.BLOCK_DEVICE,
}


def file_kind(mode: int) -> FileKind:
    """Of a mode as ``stat`` gives it."""
    return _KINDS.get(stat.S_IFMT(mode), FileKind.UNKNOWN)


@frozen
class FileEntry:
    """One file, folder or other entry.

    Attributes:
        name: its last part; ``/`` for the root.
        kind: what it is.
        mode: permissions and the set-ID and sticky bits, 12 bits.
        size: bytes.
        uid: owner's number.
        gid: group's number.
        modified_ns: of its content, nanoseconds since the epoch.
        links: number of its names.
        inode: of its file system.
        device: number of a device's entry, or 0.
        target: of a symbolic link, or None.
    """

    name: str
    kind: FileKind
    mode: int
    size: int
    uid: int
    gid: int
    modified_ns: int
    links: int
    inode: int
    device: int
    target: str | None


@frozen
class FilePage:
    """A part of a folder's entries, by name, bytewise.

    Attributes:
        entries: not ``.`` and ``..``.
        after: where the next page begins, or None when this is the last.
    """

    entries: tuple[FileEntry, ...]
    after: str | None


@frozen
class FileOwner:
    """Owner and group by number; None leaves it."""

    uid: int | None = None
    gid: int | None = None


class WriteMode(StrEnum):
    """What to do with a file that exists, or does not."""

    #: Made when missing; what it held is gone.
    REPLACE = "replace"
    #: Made when missing; written at its end.
    APPEND = "append"
    #: Must not exist.
    NEW = "new"
    #: Must exist; written over from the offset.
    UPDATE = "update"


class ChangeKind(StrEnum):
    """What happened to a watched entry."""

    CREATED = "created"
    DELETED = "deleted"
    MODIFIED = "modified"
    #: Closed after it was open for writing.
    WRITTEN = "written"
    ATTRIBUTES = "attributes"
    MOVED_FROM = "moved-from"
    MOVED_TO = "moved-to"
    #: There were more changes than anybody took: some are missing.
    OVERFLOW = "overflow"
    #: What was watched was removed, moved away or unmounted; nothing follows.
    ENDED = "ended"


@frozen
class FileChange:
    """One change below a watched path.

    Attributes:
        kind: what happened.
        path: relative to what is watched; ``""`` is that itself.
        folder: whether it is one.
        cookie: the same number joins the two halves of a move; otherwise 0.
    """

    kind: ChangeKind
    path: str
    folder: bool = False
    cookie: int = 0
