"""Where the bytes of a tree's files come from: layer tars, through ``copy_file_range`` where that is quickest."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from monocore_core.erofs import BLOCK, Node
from monocore_core.errors import Corrupt
from monocore_core.keyed import Check
from monocore_core.layertar import Segment

#: Up to here one read and one write take less than the kernel's preparations.
SMALL = 32 * 1024
#: Bytes between two looks at whether the work was cancelled.
STRETCH = 32 << 20
_NOT_HERE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY, errno.EBADF}
)


class Content(Protocol):
    """Fills files."""

    @property
    def root(self) -> int:
        """Descriptor of a folder that is walked beside the one that is written, or -1."""
        ...

    def fill(self, node: Node, target: int, folder: int, name: bytes) -> None:
        """Write a file's bytes.

        Args:
            node: the file.
            target: descriptor of the new file, empty.
            folder: descriptor of its folder in the tree of ``root``, or -1.
            name: its name there.

        Raises:
            Corrupt: the bytes are not there.
            OSError: reading or writing failed.
        """
        ...


@frozen(eq=False)
class Tars:
    """Files' bytes as they stand in layer tars.

    Attributes:
        descriptors: of the tars, by the number by which files refer to them.
        segments: of the files that are not one run in their tar.
        check: called now and then.
    """

    descriptors: Mapping[int, int]
    segments: Mapping[Node, tuple[Segment, ...]]
    check: Check
    root: int = -1

    def fill(self, node: Node, target: int, folder: int, name: bytes) -> None:
        """Copy the file's run, or its segments with holes between them."""
        del folder, name
        if not node.size:
            return
        source = self.descriptors[node.source]
        segments = self.segments.get(node)
        if segments is None:
            copy_range(source, node.block * BLOCK, target, 0, node.size, check=self.check)
            return
        os.ftruncate(target, node.size)
        for segment in segments:
            copy_range(source, segment.position, target, segment.offset, segment.length, check=self.check)


def copy_range(source: int, position: int, target: int, at: int, length: int, *, check: Check) -> None:
    """Copy ``length`` bytes between files; the file system shares them where it can.

    Raises:
        Corrupt: the source ends before.
        OSError: reading or writing failed.
    """
    if length <= SMALL:
        _through_memory(source, position, target, at, length)
        return
    end = at + length
    in_kernel = True
    while at < end:
        check()
        count = min(end - at, STRETCH)
        copied = _in_kernel(source, position, target, at, count) if in_kernel else 0
        if not copied:
            in_kernel = False
            copied = _through_memory(source, position, target, at, min(count, 1 << 20))
        position, at = position + copied, at + copied


def _in_kernel(source: int, position: int, target: int, at: int, count: int) -> int:
    """Bytes copied; 0 where these two files, or this system, do not allow it."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, count, offset_src=position, offset_dst=at)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return 0
        raise


def _through_memory(source: int, position: int, target: int, at: int, count: int) -> int:
    """All ``count`` bytes, which must be few."""
    copied = 0
    while copied < count:
        data = os.pread(source, count - copied, position + copied)
        if not data:
            raise Corrupt("its data goes beyond the end of its tar")
        rest = memoryview(data)
        while rest:
            written = os.pwrite(target, rest, at + copied)
            copied += written
            rest = rest[written:]
    return copied
