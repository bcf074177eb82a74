"""Copies a folder of ours, sharing the data where the file system can (``FICLONE``: btrfs, XFS, bcachefs, …)."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from attrs import define, field

from monocore_core.erofs import NO_XATTRS, Node
from monocore_core.errors import Corrupt
from monocore_core.foldertree import Keep, copy_range, write_tree
from monocore_core.hostcalls import attributes
from monocore_core.keyed import Check
from monocore_core.model.rootfs import Ownership

#: ``FICLONE`` of ``linux/fs.h``: ``_IOW(0x94, 9, int)``, the same on every architecture that we run on.
FICLONE = 0x40049409
_OVERRIDE = b"user.containers.override_stat"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT_CLONE = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM}
)


def clone_folder(source: Path, target: Path, ownership: Ownership, check: Check) -> bool:
    """Make ``target``, which does not exist, a copy of ``source`` that shares no file with it. Nothing is synced.

    Args:
        source: made by us with this ``ownership``; nobody changes it meanwhile.
        target: in a folder that nobody else reaches.
        ownership: where owners and modes stand, in both.
        check: called now and then; raises to stop.

    Returns:
        Whether all data are shared between the two, so that the copy cost none.

    Raises:
        Corrupt: ``source`` is not what we made.
        StorageError: the host's disk refused.
        OSError: ``source`` cannot be read.
    """
    root = os.open(source, _FOLDER)
    try:
        content = _Clones(root, check)
        write_tree(_Scan(ownership, check).run(root), target, content, Keep(ownership), check)
    finally:
        os.close(root)
    return content.cloning


@define(eq=False)
class _Clones:
    """The files of a folder that is walked beside the new one."""

    root: int
    _check: Check
    cloning: bool = True

    def fill(self, node: Node, target: int, folder: int, name: bytes) -> None:
        """Share the file's data, or copy what is not hole."""
        if not node.size:
            return
        source = os.open(name, _FILE, dir_fd=folder)
        try:
            if not (self.cloning and self._clone(source, target)):
                self._copy(source, target, node.size)
        finally:
            os.close(source)

    def _clone(self, source: int, target: int) -> bool:
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError as error:
            if error.errno not in _CANNOT_CLONE:
                raise
            self.cloning = False
            return False
        return True

    def _copy(self, source: int, target: int, size: int) -> None:
        if os.fstat(source).st_blocks * 512 >= size:
            copy_range(source, 0, target, 0, size, check=self._check)
            return
        os.ftruncate(target, size)
        for begin, end in _data(source, size):
            copy_range(source, begin, target, begin, end - begin, check=self._check)


def _data(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file is not hole."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(source, begin, os.SEEK_HOLE)
        yield begin, end


@define(eq=False)
class _Scan:
    """Reads a folder into a tree."""

    ownership: Ownership
    check: Check
    _several: dict[int, Node] = field(factory=dict[int, Node])

    def run(self, root: int) -> Node:
        """The folder that ``root`` is open on. Goes down by names and up by ``..``, with one descriptor."""
        here = os.dup(root)
        try:
            top = self._node(os.fstat(here), here, b".", _xattrs(partial(attributes.read_open, here)))
            levels = [self._children(here, top)]
            while levels:
                found = next(levels[-1], None)
                if found is None:
                    levels.pop()
                    if levels:
                        here = _moved(here, b"..")
                    continue
                name, node = found
                here = _moved(here, name)
                levels.append(self._children(here, node))
        finally:
            os.close(here)
        return top

    def _children(self, here: int, folder: Node) -> Iterator[tuple[bytes, Node]]:
        """Fill in everything directly in a folder; its folders, to go on with."""
        self.check()
        children: dict[bytes, Node] = {}
        folder.children = children
        with os.scandir(here) as entries:
            for entry in entries:
                name, status = os.fsencode(entry.name), entry.stat(follow_symlinks=False)
                known = self._several.get(status.st_ino)
                if known is None:
                    xattrs = _xattrs(partial(attributes.read_named, here, name))
                    known = self._node(status, here, name, xattrs)
                    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                        self._several[status.st_ino] = known
                children[name] = known
        return iter([(name, node) for name, node in children.items() if stat.S_ISDIR(node.mode)])

    def _node(self, status: os.stat_result, here: int, name: bytes, xattrs: Mapping[bytes, bytes]) -> Node:
        mode, size = status.st_mode, status.st_size
        node = Node(mode, status.st_uid, status.st_gid, status.st_mtime_ns, xattrs=xattrs)
        if stat.S_ISREG(mode):
            node.size, node.source = size, 0
        elif stat.S_ISLNK(mode):
            node.data = os.readlink(name, dir_fd=here)
        elif stat.S_ISDIR(mode):
            node.children = {}
        else:
            node.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if self.ownership is Ownership.OVERRIDE_STAT and _OVERRIDE in xattrs:
            _restore(node, dict(xattrs))
        return node


def _restore(node: Node, xattrs: dict[bytes, bytes]) -> None:
    """Take owner and mode out of the attribute."""
    try:
        uid, gid, mode = xattrs.pop(_OVERRIDE).split(b":")
        node.uid, node.gid, node.mode = int(uid), int(gid), stat.S_IFMT(node.mode) | int(mode, 8) & 0o7777
    except ValueError as error:
        raise Corrupt(f"an attribute {_OVERRIDE.decode()} is not one of ours") from error
    node.xattrs = xattrs


def _xattrs(read: Callable[[], Mapping[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """What is read, none where the file system has none."""
    try:
        return read() or NO_XATTRS
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return NO_XATTRS
        raise


def _moved(here: int, name: bytes) -> int:
    moved = os.open(name, _FOLDER, dir_fd=here)
    os.close(here)
    return moved
