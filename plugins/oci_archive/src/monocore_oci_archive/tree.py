"""The files below a folder, in one order, whatever others do to them meanwhile.

Every step is relative to an open folder and follows no symlink, so that nobody who may write below the folder leads us out of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

from attrs import define, field, frozen

from monocore_core.errors import LimitExceeded
from monocore_oci_archive.inputs import Fingerprint, reading, settled
from monocore_oci_archive.stopping import Stop

#: Folders within one another; each is open while what is below it is walked. As many as a layer may have.
MAX_DEPTH = 256
#: Bytes of a path.
MAX_PATH = 4096


@frozen
class Node:
    """One file.

    Attributes:
        path: relative to the root, which is ``b""``.
        folder: descriptor of the folder that it is in; of the root, of itself.
        name: in that folder; of the root, ``"."``.
        status: of itself, not of what a symlink leads to.
        foreign: a folder of another file system, whose content is not walked.
    """

    path: bytes
    folder: int
    name: str
    status: os.stat_result
    foreign: bool = False


@define(eq=False)
class Walk:
    """Walks below an open folder.

    Attributes:
        root: its path, for messages.
        fd: the folder.
        limit: nodes.
        stop: checked at every node.
    """

    root: str
    fd: int
    limit: int
    stop: Stop
    _count: int = field(default=0, init=False)

    def nodes(self) -> Iterator[Node]:
        """Every node, a folder before what is in it, and names in the order of their bytes.

        Raises:
            StorageError, NotFound: something cannot be read, or has vanished.
            LimitExceeded: too many, or too deep.
        """
        with reading(self.root):
            status = os.fstat(self.fd)
        yield Node(b"", self.fd, ".", status)
        yield from self._below(b"", self.fd, status.st_dev, 1)

    def shown(self, path: bytes) -> str:
        """A path for messages."""
        return os.path.join(self.root, os.fsdecode(path))  # noqa: PTH118 - it may have any bytes in it

    def _below(self, path: bytes, fd: int, device: int, depth: int) -> Iterator[Node]:
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"{self.shown(path)} is more than {MAX_DEPTH} folders deep")
        with reading(self.shown(path)):
            names = sorted(os.listdir(fd), key=os.fsencode)
        for name in names:
            node = self._node(path, fd, name, device)
            yield node
            if stat.S_ISDIR(node.status.st_mode) and not node.foreign:
                with ExitStack() as stack:
                    with reading(self.shown(node.path)):
                        below = os.open(
                            name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd
                        )
                    stack.callback(os.close, below)
                    yield from self._below(node.path, below, device, depth + 1)

    def _node(self, parent: bytes, fd: int, name: str, device: int) -> Node:
        self.stop.check()
        self._count += 1
        if self._count > self.limit:
            raise LimitExceeded(
                f"{self.root} has more than {self.limit} files",
                hint="raise plugins.oci_archive.max_files if it is what you mean",
            )
        path = b"/".join((parent, os.fsencode(name))) if parent else os.fsencode(name)
        if len(path) > MAX_PATH:
            raise LimitExceeded(f"{self.shown(path[:200])}… has a path of more than {MAX_PATH} bytes")
        with reading(self.shown(path)):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        foreign = stat.S_ISDIR(status.st_mode) and status.st_dev != device
        return Node(path, fd, name, status, foreign)


@contextmanager
def open_folder(path: str) -> Generator[int]:
    """A folder's descriptor."""
    with reading(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def tree_fingerprint(path: str, limit: int, stop: Stop) -> Fingerprint:
    """Of everything below a folder, by its status only; takes some microseconds a file."""
    hasher, newest = hashlib.sha256(), 0
    with open_folder(path) as fd:
        for node in Walk(path, fd, limit, stop).nodes():
            each = node.status
            newest = max(newest, each.st_ctime_ns)
            numbers = (
                each.st_dev,
                each.st_ino,
                each.st_mode,
                each.st_uid,
                each.st_gid,
                each.st_size,
                each.st_mtime_ns,
                each.st_ctime_ns,
            )
            hasher.update(b"%d %s %a\n" % (len(node.path), node.path, numbers))
    return Fingerprint(f"tree:{hasher.hexdigest()}:{os.geteuid() == 0}", settled(newest))
