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


@frozen
class DirectoryRoot:
    """A folder on the host that holds the merged tree; served to the guest over virtiofs.

    Attributes:
        path: the tree's root.
        writable: whether the guest may write into the folder itself. When False the guest puts an overlay on top.
    """

    path: Path
    writable: bool = False

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
