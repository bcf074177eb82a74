"""Decides where everything of an image stands: first the inodes, breadth first, then folders and own data."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import NamedTuple

from attrs import define, field, frozen

from monocore_core.erofs import xattr
from monocore_core.erofs.node import NO_XATTRS, OWN_DATA, Node
from monocore_core.errors import LimitExceeded, Unsupported

BLOCK = 512
INODE_SIZE = 64
DIRENT_SIZE = 12
#: Inodes begin after the superblock's block: 1024 bytes unused, 128 of superblock, the rest of its block.
FIRST_INODE = 1536
#: An inode's number is its place in units of this many bytes.
NID_UNIT = 32
NAME_MAX = 255
TARGET_MAX = 4095
MAX_MAJOR = (1 << 12) - 1
MAX_MINOR = (1 << 20) - 1
MAX_ID = (1 << 32) - 1
MAX_SIZE = (1 << 63) - 1
MAX_CHUNK_BITS = 31


@frozen
class Folder:
    """A folder's entries as they will stand: ``names`` sorted bytewise, cut into blocks at ``cuts``."""

    node: Node
    parent: int
    names: list[bytes]
    cuts: list[int]


@define
class Layout:
    """Where everything stands.

    Attributes:
        nodes: every inode once, in order of its number.
        folders: every folder.
        own: nodes with blocks of their own (file data, long symlinks).
        bodies: encoded extended attributes by inode number.
        sources: the external data that is referred to.
        inode_end: byte after the inodes.
        blocks: of the whole image, without external data.
        chunked: whether any file is chunk-based.
    """

    nodes: list[Node] = field(factory=list[Node])
    folders: list[Folder] = field(factory=list[Folder])
    own: list[Node] = field(factory=list[Node])
    bodies: dict[int, bytes] = field(factory=dict[int, bytes])
    sources: set[int] = field(factory=set[int])
    inode_end: int = FIRST_INODE
    blocks: int = 0
    chunked: bool = False


class _Where(NamedTuple):
    """A path, put together only when an error names it: trees may be deep."""

    parent: _Where | None
    name: bytes

    def __str__(self) -> str:
        parts: list[bytes] = []
        here: _Where | None = self
        while here is not None:
            parts.append(here.name)
            here = here.parent
        return repr(b"/".join(reversed(parts)) or b"/")[1:]


@frozen
class Limits:
    """Bounds of an image: number of inodes, and bytes of everything but external data."""

    inodes: int = 4_000_000
    size: int = 1 << 30


def plan(root: Node, limits: Limits | None = None) -> Layout:
    """Number the inodes of ``root``'s tree and give everything its place. Pure but for the numbers in the nodes.

    Raises:
        Unsupported: something EROFS or Linux cannot hold, named by its path.
        LimitExceeded: beyond ``limits`` or a bound of the format.
    """
    if root.nid or root.children is None:
        raise ValueError("the root of a tree is a folder, and is laid out once")
    bounds = limits or Limits()
    layout = Layout()
    _place(layout, root, _Where(None, b""))
    waiting: list[tuple[Node, int, _Where]] = [(root, root.nid, _Where(None, b""))]
    for node, parent, where in waiting:
        waiting.extend(_folder(layout, node, parent, where))
        if len(layout.nodes) > bounds.inodes:
            raise LimitExceeded(f"the image has more than {bounds.inodes} files")
        if layout.inode_end > bounds.size:
            break
    _place_blocks(layout)
    if layout.blocks * BLOCK > bounds.size:
        raise LimitExceeded(f"the image's metadata takes more than {bounds.size} bytes")
    return layout


def _folder(layout: Layout, node: Node, parent: int, path: _Where) -> Iterator[tuple[Node, int, _Where]]:
    """Number the children of a folder, cut its entries into blocks, and give its sub-folders."""
    children = node.children
    assert children is not None  # noqa: S101 - only folders are queued
    names = sorted((*children, b".", b".."))
    cuts = [0]
    room = BLOCK
    links = 2
    for index, name in enumerate(names):
        need = DIRENT_SIZE + len(name)
        if need > room:
            cuts.append(index)
            room = BLOCK
        room -= need
        child = children.get(name)
        if child is None:
            continue
        if child.nid:
            child.links += 1
            continue
        where = _Where(path, name)
        if len(name) > NAME_MAX:
            raise Unsupported(f"{where}: the name is longer than {NAME_MAX} bytes")
        _place(layout, child, where)
        if child.children is not None:
            links += 1
            yield child, node.nid, where
    node.links = links
    cuts.append(len(names))
    node.size = (len(cuts) - 2) * BLOCK + BLOCK - room
    layout.folders.append(Folder(node, parent, names, cuts))


def _place(layout: Layout, node: Node, path: _Where) -> None:
    """Give one inode its number, and room for what follows it."""
    at = layout.inode_end
    end = at + INODE_SIZE
    node.links = 1
    kind = node.mode & 0o170000
    if kind == stat.S_IFREG and node.source != OWN_DATA and node.xattrs is NO_XATTRS and node.chunks is None:
        layout.sources.add(node.source)  # nearly every inode of nearly every image
    elif kind != stat.S_IFDIR or node.xattrs:
        at, end = _place_special(layout, node, path, at)
    if not (0 <= node.uid <= MAX_ID and 0 <= node.gid <= MAX_ID and 0 <= node.size <= MAX_SIZE):
        raise Unsupported(f"{path}: owner {node.uid}:{node.gid} or size {node.size} is out of range")
    node.nid = at // NID_UNIT
    layout.nodes.append(node)
    layout.inode_end = end + -end % INODE_SIZE


def _place_special(layout: Layout, node: Node, path: _Where, at: int) -> tuple[int, int]:
    """Where an inode with more than its 64 bytes begins and ends."""
    body = xattr.encode(node.xattrs, str(path))
    size = INODE_SIZE + len(body)
    kind = stat.S_IFMT(node.mode)
    if kind == stat.S_IFLNK:
        if not 0 < len(node.data) <= TARGET_MAX:
            raise Unsupported(f"{path}: a symlink's target of {len(node.data)} bytes is not possible")
        node.size = len(node.data)
        if size + node.size <= BLOCK:  # the target follows the inode, in the same block
            size += node.size
            if at % BLOCK + size > BLOCK:
                at += -at % BLOCK
        else:
            layout.own.append(node)
    elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
        _check_device(node, path)
    elif kind == stat.S_IFREG:
        size += _regular(layout, node, path)
    if body:
        layout.bodies[at // NID_UNIT] = body
    return at, at + size


def _regular(layout: Layout, node: Node, path: _Where) -> int:
    """Note what a regular file refers to; bytes of its chunk map."""
    if node.chunks is not None:
        chunk = BLOCK << node.chunks.bits
        expected = -(-node.size // chunk)
        if node.chunks.bits > MAX_CHUNK_BITS or expected != len(node.chunks.addresses):
            raise ValueError(f"{path}: {len(node.chunks.addresses)} chunks do not cover {node.size} bytes")
        layout.sources.update(address[0] for address in node.chunks.addresses if address is not None)
        layout.chunked = True
        return 4 * expected
    if node.source != OWN_DATA:
        layout.sources.add(node.source)
    elif node.size != len(node.data):
        raise ValueError(f"{path}: {len(node.data)} bytes are not a file of {node.size}")
    elif node.size:
        layout.own.append(node)
    return 0


def _check_device(node: Node, path: _Where) -> None:
    major, minor = node.device
    if not (0 <= major <= MAX_MAJOR and 0 <= minor <= MAX_MINOR):
        raise Unsupported(f"{path}: device {major}:{minor} is out of Linux's range")


def _place_blocks(layout: Layout) -> None:
    """Give folders and own data their blocks, after the inodes."""
    block = -(-layout.inode_end // BLOCK)
    for folder in layout.folders:
        folder.node.block = block
        block += len(folder.cuts) - 1
    for node in layout.own:
        node.block = block
        block += -(-node.size // BLOCK)
    layout.blocks = block
