"""Turns a laid-out tree into bytes (kernel ``Documentation/filesystems/erofs.rst`` and ``fs/erofs/erofs_fs.h``)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from monocore_core.erofs import xattr
from monocore_core.erofs.crc32c import crc32c
from monocore_core.erofs.layout import (
    BLOCK,
    DIRENT_SIZE,
    FIRST_INODE,
    INODE_SIZE,
    NID_UNIT,
    Folder,
    Layout,
    plan,
)
from monocore_core.erofs.node import OWN_DATA, Node
from monocore_core.errors import LimitExceeded

MAGIC = 0xE0F5E1E2
SUPERBLOCK_AT = 1024
BLOCK_BITS = 9
#: Block addresses are 32 bits wide, and the highest means "hole".
MAX_BLOCKS = (1 << 32) - 2
COMPAT_CHECKSUM = 1
COMPAT_MTIME = 2
INCOMPAT_CHUNKED = 4
EXTENDED = 1
LAYOUT_PLAIN = 0
LAYOUT_INLINE = 2
LAYOUT_CHUNKED = 4
HOLE = 0xFFFFFFFF
NAME_SIZE = 16

_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sI")
_INODE = struct.Struct("<HHHHQIIIIqII")
_DIRENT = struct.Struct("<QHBB")
#: Type of a folder's entry by ``st_mode >> 12``: fifo, character, directory, block, regular, symlink, socket.
_TYPES = bytes((0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7, 0, 6, 0, 0, 0))
_UUID_AT = SUPERBLOCK_AT + 48


def render(
    layout: Layout, starts: Mapping[int, int], *, end: int = 0, uuid: bytes = bytes(16), name: bytes = b""
) -> bytearray:
    """The image's own bytes, a multiple of 512.

    Args:
        layout: from :func:`~monocore_core.erofs.layout.plan`.
        starts: absolute block at which each of ``layout.sources`` begins on the disk.
        end: blocks of the whole disk; 0 when nothing follows the image.
        uuid: of the volume.
        name: of the volume, at most 16 bytes.

    Raises:
        LimitExceeded: the disk is larger than 32-bit block addresses reach (2 TiB).
    """
    blocks = end or layout.blocks
    if blocks > MAX_BLOCKS:
        raise LimitExceeded(f"the disk has {blocks * BLOCK} bytes, and EROFS reaches {MAX_BLOCKS * BLOCK}")
    if len(name) > NAME_SIZE:
        raise ValueError(f"volume name {name!r} is longer than {NAME_SIZE} bytes")
    image = bytearray(layout.blocks * BLOCK)
    _write_inodes(image, layout, starts)
    for folder in layout.folders:
        _write_folder(image, folder)
    for node in layout.own:
        image[node.block * BLOCK : node.block * BLOCK + node.size] = node.data
    compat = COMPAT_CHECKSUM | COMPAT_MTIME
    incompat = INCOMPAT_CHUNKED if layout.chunked else 0
    head = (MAGIC, 0, compat, BLOCK_BITS, 0, layout.nodes[0].nid, len(layout.nodes), 0, 0, blocks, 0, 0)
    _SUPERBLOCK.pack_into(image, SUPERBLOCK_AT, *head, uuid, name, incompat)
    _seal(image)
    return image


def self_contained(root: Node, *, name: bytes = b"") -> bytes:
    """A small image that holds all its data, for a boot disk. Its UUID follows from its content.

    Raises:
        Unsupported: something EROFS or Linux cannot hold.
        ValueError: a node refers to external data.
    """
    layout = plan(root)
    if layout.sources:
        raise ValueError("a self-contained image refers to no external data")
    image = render(layout, {}, name=name)
    image[_UUID_AT : _UUID_AT + 16] = hashlib.sha256(image).digest()[:16]
    _seal(image)
    return bytes(image)


def _seal(image: bytearray) -> None:
    """Set the checksum: CRC-32C of the superblock's block with the field as zero."""
    image[SUPERBLOCK_AT + 4 : SUPERBLOCK_AT + 8] = bytes(4)
    checksum = crc32c(image[SUPERBLOCK_AT:FIRST_INODE])
    image[SUPERBLOCK_AT + 4 : SUPERBLOCK_AT + 8] = checksum.to_bytes(4, "little")


def _write_inodes(image: bytearray, layout: Layout, starts: Mapping[int, int]) -> None:
    pack = _INODE.pack_into
    bodies = layout.bodies
    offsets = {OWN_DATA: 0, **starts}
    for ino, node in enumerate(layout.nodes, 1):
        nid, mode, size = node.nid, node.mode, node.size
        kind = mode >> 12
        form, where, attributes = EXTENDED, 0, 0
        if bodies and (body := bodies.get(nid)):
            attributes = xattr.count(body)
            _put(image, nid * NID_UNIT + INODE_SIZE, body)
        else:
            body = b""
        if kind == 8:
            if node.chunks is not None:
                form |= LAYOUT_CHUNKED << 1
                where = node.chunks.bits
                _put(image, nid * NID_UNIT + INODE_SIZE + len(body), _chunk_map(node, offsets))
            elif size:
                where = offsets[node.source] + node.block
        elif kind == 4:
            where = node.block
        elif kind == 10:
            where = node.block
            if not where:
                form |= LAYOUT_INLINE << 1
                _put(image, nid * NID_UNIT + INODE_SIZE + len(body), node.data)
        elif kind in {2, 6}:
            where = _device(node)
        seconds, nanoseconds = divmod(node.mtime_ns, 1_000_000_000)
        pack(
            image, nid * NID_UNIT,
            form, attributes, mode, 0, size, where, ino, node.uid, node.gid, seconds, nanoseconds, node.links,
        )  # fmt: skip


def _put(image: bytearray, at: int, data: bytes) -> None:
    image[at : at + len(data)] = data


def _device(node: Node) -> int:
    """The kernel's ``new_encode_dev``."""
    major, minor = node.device
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def _chunk_map(node: Node, starts: Mapping[int, int]) -> bytes:
    chunks = node.chunks
    assert chunks is not None  # noqa: S101 - the caller looked
    addresses = [HOLE if place is None else starts[place[0]] + place[1] for place in chunks.addresses]
    return struct.pack(f"<{len(addresses)}I", *addresses)


def _write_folder(image: bytearray, folder: Folder) -> None:
    """Blocks of fixed-size entries followed by their names."""
    pack = _DIRENT.pack_into
    node, names = folder.node, folder.names
    children = node.children or {}
    base = node.block * BLOCK
    own, parent, is_folder = node.nid, folder.parent, _TYPES[4]
    for begin, end in zip(folder.cuts, folder.cuts[1:], strict=False):
        group = names[begin:end]
        at, offset = base, len(group) * DIRENT_SIZE
        names_at = base + offset
        for name in group:
            child = children.get(name)
            if child is None:
                pack(image, at, own if name == b"." else parent, offset, is_folder, 0)
            else:
                pack(image, at, child.nid, offset, _TYPES[child.mode >> 12], 0)
            at += DIRENT_SIZE
            offset += len(name)
        image[names_at : base + offset] = b"".join(group)
        base += BLOCK
