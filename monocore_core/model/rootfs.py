"""What a layer merger makes: a description of a root file system that a VMM can attach."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from attrs import frozen


class DiskFormat(StrEnum):
    """How a disk's bytes are laid out on the host."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"


class RootKind(StrEnum):
    """The two shapes a root can have."""

    DIRECTORY = "directory"
    DISK = "disk"


class Ownership(StrEnum):
    """Where the owners and modes of a folder's files stand."""

    NATIVE = "native"
    """Where they belong: the files have them."""
    OVERRIDE_STAT = "override_stat"
    """The files are the user's who made them, and readable by it; what the image says is in the extended attribute
    ``user.containers.override_stat`` of files and folders (``uid:gid:0mode``, the mode octal without the type), as libkrun
    for macOS and fuse-overlayfs read it."""


@frozen
class DirectoryRoot:
    """A folder on the host that holds the merged tree; served to the guest over virtiofs.

    Attributes:
        path: the tree's root.
        writable: whether the guest may write into the folder itself. When False the guest puts an overlay on top.
        ownership: where the owners and modes stand.
    """

    path: Path
    writable: bool = False
    ownership: Ownership = Ownership.NATIVE

    @property
    def kind(self) -> RootKind:
        """Always ``RootKind.DIRECTORY``."""
        return RootKind.DIRECTORY


@frozen
class DiskRoot:
    """One read-only block device that holds the merged tree.

    Attributes:
        path: the disk, or the descriptor that joins its pieces.
        format: how to read ``path``.
        filesystem: what the guest mounts it as, e.g. ``erofs``.
        files: every host file behind the disk (``path`` included), so that a jail knows what to expose.
    """

    path: Path
    format: DiskFormat
    filesystem: str
    files: tuple[Path, ...]

    @property
    def kind(self) -> RootKind:
        """Always ``RootKind.DISK``."""
        return RootKind.DISK


RootFs = DirectoryRoot | DiskRoot
