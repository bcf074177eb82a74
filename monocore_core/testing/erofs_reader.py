"""Reads EROFS images back, to judge those that write them.

Written from the format's documentation, for tests: it shares no code with :mod:`monocore_core.erofs` and checks what a
kernel would trip over.

Source: kernel ``Documentation/filesystems/erofs.rst`` and ``fs/erofs/erofs_fs.h``.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import unpack_from

from attrs import frozen

from monocore_core.layertar import EntryKind
from monocore_core.testing.layer_model import Found

_KINDS = {
    0o01: EntryKind.FIFO,
    0o02: EntryKind.CHARACTER,
    0o04: EntryKind.DIRECTORY,
    0o06: EntryKind.BLOCK,
    0o10: EntryKind.FILE,
    0o12: EntryKind.SYMLINK,
}
_DIRENT_TYPES = {
    EntryKind.FILE: 1,
    EntryKind.DIRECTORY: 2,
    EntryKind.CHARACTER: 3,
    EntryKind.BLOCK: 4,
    EntryKind.FIFO: 5,
    EntryKind.SYMLINK: 7,
}
_PREFIXES = {
    1: b"user.",
    2: b"system.posix_acl_access",
    3: b"system.posix_acl_default",
    4: b"trusted.",
    6: b"security.",
}


class BadImageError(AssertionError):
    """The image breaks the format."""


def _must(condition: object, text: str) -> None:
    if not condition:
        raise BadImageError(text)


@frozen
class Inode:
    """One inode as it stands in the image."""

    nid: int
    kind: EntryKind
    layout: int
    mode: int
    size: int
    union: int
    uid: int
    gid: int
    mtime_ns: int
    links: int
    xattrs: Mapping[bytes, bytes]
    tail: int


class Image:
    """A disk in memory that begins with an EROFS superblock."""

    def __init__(self, disk: bytes) -> None:
        self.disk = disk
        magic, self.checksum, self.compat, bits, _, self.root = unpack_from("<IIIBBH", disk, 1024)
        _must(magic == 0xE0F5E1E2, "no superblock")
        self.block = 1 << bits
        self.inodes, _, _, self.blocks, self.meta, _ = unpack_from("<QQIIII", disk, 1024 + 16)
        self.uuid = disk[1072:1088]
        self.name = disk[1088:1104].rstrip(b"\0")
        (self.incompat,) = unpack_from("<I", disk, 1104)
        _must(self.blocks * self.block <= len(disk), "the disk is shorter than its superblock says")
        _must(not self.incompat & ~4, "unknown incompatible features")

    def inode(self, nid: int) -> Inode:
        """By number."""
        at = self.meta * self.block + nid * 32
        form, icount, mode, _, size, union, _, uid, gid, seconds, nano, links = unpack_from(
            "<HHHHQIIIIqII", self.disk, at
        )
        _must(form & 1, f"inode {nid} is compact")
        _must(nano < 10**9, f"inode {nid}: {nano} nanoseconds")
        body = 12 + 4 * (icount - 1) if icount else 0
        return Inode(
            nid=nid,
            kind=_KINDS[mode >> 12],
            layout=form >> 1 & 7,
            mode=mode & 0o7777,
            size=size,
            union=union,
            uid=uid,
            gid=gid,
            mtime_ns=seconds * 10**9 + nano,
            links=links,
            xattrs=dict(self._xattrs(at + 64, body)) if body else {},
            tail=at + 64 + body,
        )

    def data(self, inode: Inode) -> bytes:
        """Content of a file, target of a symlink, blocks of a folder."""
        if inode.layout == 0:
            data = self._at(inode.union * self.block, inode.size)
        elif inode.layout == 2:
            first, last = inode.tail // self.block, (inode.tail + inode.size - 1) // self.block
            _must(
                first == last and inode.size < self.block, f"inode {inode.nid}: inline data crosses a block"
            )
            data = self._at(inode.tail, inode.size)
        else:
            _must(inode.layout == 4 and self.incompat & 4, f"inode {inode.nid}: layout {inode.layout}")
            data = b"".join(self._chunks(inode))
        return data

    def entries(self, inode: Inode) -> dict[bytes, int]:
        """Of a folder, with ``.`` and ``..``, in their order."""
        data = self.data(inode)
        found: dict[bytes, int] = {}
        names: list[bytes] = []
        for start in range(0, len(data), self.block):
            part = data[start : start + self.block]
            (first,) = unpack_from("<H", part, 8)
            _must(
                first % 12 == 0 and 0 < first < len(part),
                f"folder {inode.nid}: bad first name offset {first}",
            )
            offsets = [unpack_from("<H", part, at + 8)[0] for at in range(0, first, 12)] + [len(part)]
            for index, (begin, end) in enumerate(itertools.pairwise(offsets)):
                nid, _, kind, _ = unpack_from("<QHBB", part, index * 12)
                name = part[begin:end].split(b"\0")[0] if index == len(offsets) - 2 else part[begin:end]
                _must(name and b"/" not in name and b"\0" not in name, f"folder {inode.nid}: name {name!r}")
                _must(_DIRENT_TYPES[self.inode(nid).kind] == kind, f"{name!r}: wrong type {kind}")
                found[name] = nid
                names.append(name)
        _must(names == sorted(set(names)), f"folder {inode.nid}: names are not sorted or not unique")
        return found

    def tree(self) -> dict[bytes, Found]:
        """Everything, by path; checks links, parents and the count of inodes."""
        paths: dict[bytes, int] = {}
        subfolders: dict[int, int] = {}
        waiting = [(b"", self.root, self.root)]
        while waiting:
            path, nid, parent = waiting.pop()
            paths[path] = nid
            inode = self.inode(nid)
            if inode.kind is not EntryKind.DIRECTORY:
                continue
            _must(nid not in subfolders, f"folder {path!r} has two parents")
            entries = self.entries(inode)
            _must(entries.pop(b".") == nid and entries.pop(b"..") == parent, f"folder {path!r}: bad dots")
            children = [(path + b"/" * bool(path) + name, child, nid) for name, child in entries.items()]
            subfolders[nid] = sum(self.inode(child).kind is EntryKind.DIRECTORY for _, child, _ in children)
            waiting += children
        _must(len(set(paths.values())) == self.inodes, "the superblock's count of inodes is wrong")
        links: dict[int, set[bytes]] = {}
        for path, nid in paths.items():
            links.setdefault(nid, set()).add(path)
        for nid, names in links.items():
            expected = 2 + subfolders[nid] if nid in subfolders else len(names)
            _must(
                self.inode(nid).links == expected, f"{names!r}: {self.inode(nid).links} links, not {expected}"
            )
        return {path: self._found(self.inode(nid), frozenset(links[nid])) for path, nid in paths.items()}

    def _found(self, inode: Inode, links: frozenset[bytes]) -> Found:
        device = (0, 0)
        if inode.kind in {EntryKind.CHARACTER, EntryKind.BLOCK}:
            device = (inode.union >> 8 & 0xFFF, inode.union & 0xFF | inode.union >> 12 & 0xFFF00)
        return Found(
            kind=inode.kind,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime_ns=inode.mtime_ns,
            content=self.data(inode) if inode.kind is EntryKind.FILE else b"",
            target=self.data(inode) if inode.kind is EntryKind.SYMLINK else b"",
            device=device,
            xattrs=inode.xattrs,
            links=links,
        )

    def _chunks(self, inode: Inode) -> Iterator[bytes]:
        chunk = self.block << (inode.union & 0x1F)
        at = inode.tail + -inode.tail % 4
        for index in range(-(-inode.size // chunk)):
            length = min(chunk, inode.size - index * chunk)
            (address,) = unpack_from("<I", self.disk, at + 4 * index)
            yield bytes(length) if address == 0xFFFFFFFF else self._at(address * self.block, length)

    def _at(self, at: int, size: int) -> bytes:
        data = self.disk[at : at + size]
        _must(len(data) == size, f"bytes {at} to {at + size} are beyond the disk")
        return data

    def _xattrs(self, at: int, body: int) -> Iterator[tuple[bytes, bytes]]:
        _must(self.disk[at + 4] == 0, "shared attributes")
        end, at = at + body, at + 12
        while at < end:
            length, index, size = unpack_from("<BBH", self.disk, at)
            name = _PREFIXES[index] + self.disk[at + 4 : at + 4 + length]
            yield name, self.disk[at + 4 + length : at + 4 + length + size]
            at += 4 + length + size
            at += -at % 4
        _must(at == end, "attributes overrun their inode")


def join_vmdk(descriptor: Path) -> bytes:
    """The bytes of the disk that a flat VMDK descriptor joins."""
    disk = bytearray()
    for line in descriptor.read_bytes().splitlines():
        found = re.fullmatch(rb'RW (\d+) FLAT "([^"]+)" (\d+)', line)
        if found is None:
            _must(not line.startswith(b"RW"), f"extent {line!r}")
            continue
        sectors, offset = int(found[1]), int(found[3])
        with Path(os.fsdecode(found[2])).open("rb") as file:
            file.seek(offset * 512)
            data = file.read(sectors * 512)
        _must(len(data) == sectors * 512, f"extent {line!r} is longer than its file")
        disk += data
    return bytes(disk)
