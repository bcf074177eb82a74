"""A folder as a layer's tar, the same bytes for the same files."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import define, evolve, field

from monocore_core.errors import Corrupt, Unsupported
from monocore_core.hostcalls import attributes
from monocore_core.inflate import BLOCK
from monocore_core.layertar import END, Entry, EntryKind, entry_header, padding
from monocore_core.model.digest import Digest, Hasher
from monocore_oci_archive.inputs import READ, Spool, reading
from monocore_oci_archive.options import ArchiveOptions
from monocore_oci_archive.stopping import Stop
from monocore_oci_archive.tree import Node, Walk, open_folder

_SECOND = 1_000_000_000
_KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFCHR: EntryKind.CHARACTER,
    stat.S_IFBLK: EntryKind.BLOCK,
    stat.S_IFIFO: EntryKind.FIFO,
}
#: Attributes that belong to the file and not to this host; capabilities above all.
_CAPABILITY, _USER = "security.capability", "user."
#: What overlayfs and rootless container engines keep for themselves.
_OTHERS = ("user.overlay.", "user.containers.")
_WHITEOUT = b".wh."


@define(eq=False)
class Packer:
    """Packs one folder.

    Attributes:
        path: of the folder.
        cache: where the tar is written, without a name.
        options: bounds.
        stop: checked now and then.
        remarks: what was left out.
    """

    path: str
    cache: Path
    options: ArchiveOptions
    stop: Stop
    remarks: list[str] = field(factory=list[str])
    _links: dict[tuple[int, int], bytes] = field(factory=dict[tuple[int, int], bytes], init=False)
    _owners: bool = field(factory=lambda: os.geteuid() == 0, init=False)

    def pack(self) -> tuple[int, int, Digest]:
        """The tar: a descriptor, which the caller closes, its size and its digest.

        Raises:
            NotFound, StorageError: something cannot be read; or there is no room for the tar.
            Unsupported: a name that means something else in a layer.
            Corrupt: a file changed while it was read.
            LimitExceeded: more than is allowed.
        """
        with open_folder(self.path) as fd, Spool.make(self.path, self.cache, self.options) as spool:
            out = _Out(spool)
            walk = Walk(self.path, fd, self.options.max_files, self.stop)
            for node in walk.nodes():
                for data in self._member(walk, node):
                    out.write(data)
            out.write(END)
            return out.finish()

    def _member(self, walk: Walk, node: Node) -> Iterator[bytes]:
        kind = _KINDS.get(stat.S_IFMT(node.status.st_mode))
        if kind is None:  # a socket, which is of no use without who listens on it
            return
        shown = walk.shown(node.path)
        if node.name.startswith(_WHITEOUT.decode()):
            raise Unsupported(
                f"{shown} cannot be in an image: a name that begins with .wh. means that a file is removed",
                hint="rename it, or take it out of the folder",
            )
        if node.foreign:
            self.remarks.append(f"{shown} is another file system: what is in it was left out")
        with reading(shown):
            entry = self._entry(kind, node)
            if entry.kind is EntryKind.FILE:
                yield from self._file(entry, node, shown)
            else:
                yield entry_header(entry)

    def _entry(self, kind: EntryKind, node: Node) -> Entry:
        status = node.status
        identity = (status.st_dev, status.st_ino)
        first = self._links.get(identity)
        if kind is not EntryKind.DIRECTORY and status.st_nlink > 1:
            self._links.setdefault(identity, node.path)
            if first is not None:
                kind = EntryKind.HARDLINK
        link, device = b"", (0, 0)
        if kind is EntryKind.HARDLINK:
            link = first or b""
        elif kind is EntryKind.SYMLINK:
            link = os.fsencode(os.readlink(node.name, dir_fd=node.folder))
        elif kind in {EntryKind.CHARACTER, EntryKind.BLOCK}:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        return Entry(
            path=node.path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid if self._owners else 0,
            gid=status.st_gid if self._owners else 0,
            mtime_ns=status.st_mtime_ns // _SECOND * _SECOND,
            link=link,
            device=device,
            xattrs={} if kind is EntryKind.HARDLINK else _xattrs(node),
        )

    def _file(self, entry: Entry, node: Node, shown: str) -> Iterator[bytes]:
        fd = os.open(
            node.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=node.folder
        )
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino) != (node.status.st_dev, node.status.st_ino):
                raise _changed(shown)
            size = now.st_size
            yield entry_header(evolve(entry, size=size))
            offset = 0
            while offset < size:
                self.stop.check()
                data = os.pread(fd, min(READ, size - offset), offset)
                if not data:
                    raise _changed(shown)
                offset += len(data)
                yield data
            yield padding(size)
        finally:
            os.close(fd)


def _changed(shown: str) -> Corrupt:
    return Corrupt(f"{shown} changed while it was read", hint="try again when nobody writes to it")


def _xattrs(node: Node) -> dict[bytes, bytes]:
    """Not of symlinks, which have none that we keep."""
    if stat.S_ISLNK(node.status.st_mode):
        return {}
    try:
        found = attributes.read_named(node.folder, os.fsencode(node.name))
        return {name: value for name, value in found.items() if _kept(os.fsdecode(name))}
    except OSError as error:
        if error.errno in {errno.ENOTSUP, errno.ENODATA}:
            return {}
        raise


def _kept(name: str) -> bool:
    if "=" in name:  # PAX has no way to say it
        return False
    return name == _CAPABILITY or (name.startswith(_USER) and not name.startswith(_OTHERS))


@define(eq=False)
class _Out:
    """Collects what is written to whole blocks, and hashes it."""

    spool: Spool
    _hasher: Hasher = field(factory=hashlib.sha256, init=False)
    _parts: list[bytes] = field(factory=list[bytes], init=False)
    _waiting: int = field(default=0, init=False)

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= BLOCK:
            whole = b"".join(self._parts)
            rest = len(whole) % BLOCK
            for start in range(0, len(whole) - rest, BLOCK):
                self._put(whole[start : start + BLOCK])
            self._parts, self._waiting = [whole[len(whole) - rest :]], rest

    def finish(self) -> tuple[int, int, Digest]:
        if self._waiting:
            self._put(b"".join(self._parts))
        size = self.spool.size
        return self.spool.finish(), size, Digest("sha256", self._hasher.hexdigest())

    def _put(self, block: bytes) -> None:
        self._hasher.update(block)
        self.spool.write(block)
