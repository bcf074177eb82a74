"""The tree that is written: one :class:`Node` per inode, and functions that make them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from types import MappingProxyType

from attrs import define, frozen

NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})
#: ``Node.source`` of a file whose bytes the image itself holds.
OWN_DATA = -1


@frozen
class Chunks:
    """Where the data of a sparse or scattered file stands, chunk by chunk.

    Attributes:
        bits: a chunk is ``512 << bits`` bytes; at most 31.
        addresses: one per chunk: (source, first block in that source), or None for a hole. The last chunk may be partial.
    """

    bits: int
    addresses: tuple[tuple[int, int] | None, ...]


@define(eq=False)
class Node:
    """One inode. A node that stands under several names is a hard link; folders stand under one.

    Mutable because a merge changes trees in place and the layout numbers the inodes; one tree is laid out once.

    Attributes:
        mode: type and permission bits, as in ``st_mode``.
        uid: owner, 32 bits.
        gid: group, 32 bits.
        mtime_ns: nanoseconds since the epoch, may be negative.
        size: bytes of a regular file.
        source: index of the external data that a regular file's bytes stand in, or ``OWN_DATA``.
        block: first 512-byte block of the file's data in its source.
        data: the target of a symlink; the bytes of a regular file with ``OWN_DATA``.
        device: (major, minor).
        chunks: instead of ``block`` for a file that is not contiguous.
        xattrs: by full name.
        children: of a folder by name, else None.
        nid: number of the inode, set by the layout.
        links: hard link count, set by the layout.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    source: int = OWN_DATA
    block: int = 0
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    chunks: Chunks | None = None
    xattrs: Mapping[bytes, bytes] = NO_XATTRS
    children: dict[bytes, Node] | None = None
    nid: int = 0
    links: int = 0


def directory(children: Mapping[bytes, Node] | None = None, *, mode: int = 0o755) -> Node:
    """A folder of root's."""
    return Node(stat.S_IFDIR | mode, children=dict(children or {}))


def regular(data: bytes, *, mode: int = 0o644) -> Node:
    """A file whose bytes the image holds."""
    return Node(stat.S_IFREG | mode, size=len(data), data=data)


def symlink(target: bytes) -> Node:
    """A symbolic link."""
    return Node(stat.S_IFLNK | 0o777, data=target)


def character(major: int, minor: int, *, mode: int = 0o600) -> Node:
    """A character device."""
    return Node(stat.S_IFCHR | mode, device=(major, minor))


def block(major: int, minor: int, *, mode: int = 0o600) -> Node:
    """A block device."""
    return Node(stat.S_IFBLK | mode, device=(major, minor))


def fifo(*, mode: int = 0o600) -> Node:
    """A named pipe."""
    return Node(stat.S_IFIFO | mode)
