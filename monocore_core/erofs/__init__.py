"""Writes EROFS images with 512-byte blocks: metadata over data that stands elsewhere on the disk, or self-contained.

A small disk that holds everything::

    root = directory({b"init": regular(agent, mode=0o755), b"dev": directory(), b"proc": directory()})
    Path("boot.erofs").write_bytes(self_contained(root, name=b"monocore-boot"))

Metadata only, over files that follow it on the same disk::

    root = directory({b"file": Node(stat.S_IFREG | 0o644, size=9000, source=0, block=1)})
    layout = plan(root)                    # numbers the inodes; layout.sources says which data is referred to
    start = layout.blocks                  # the data begins right after the metadata
    metadata = render(layout, {0: start}, end=start + data_blocks, uuid=uuid)

Kernels from 6.4 on mount them: blocks smaller than a page came with that release.
"""

from monocore_core.erofs.image import render, self_contained
from monocore_core.erofs.layout import BLOCK, NAME_MAX, TARGET_MAX, Layout, Limits, plan
from monocore_core.erofs.node import (
    NO_XATTRS,
    OWN_DATA,
    Chunks,
    Node,
    block,
    character,
    directory,
    fifo,
    regular,
    symlink,
)
from monocore_core.erofs.xattr import representable

__all__ = [
    "BLOCK",
    "NAME_MAX",
    "NO_XATTRS",
    "OWN_DATA",
    "TARGET_MAX",
    "Chunks",
    "Layout",
    "Limits",
    "Node",
    "block",
    "character",
    "directory",
    "fifo",
    "plan",
    "regular",
    "render",
    "representable",
    "self_contained",
    "symlink",
]
