"""What a key's folder holds: ``root``, the mount point or the copied tree, and for mounts ``names``, short names of the layers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import cast

from attrs import frozen

from monocore_core.keyed import read_record, write_record
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot, Ownership
from monocore_layer_overlayfs.mount import mounted

#: Of what this plugin makes; folders of another kind are made anew.
FORMAT = "layer_overlayfs 1"
TREE, NAMES = "root", "names"


class Kind(StrEnum):
    """How a root came to be."""

    OVERLAY = "overlay"
    COPY = "copy"


@frozen
class Record:
    """A root.

    Attributes:
        path: its tree.
        kind: a mount, or a copy where mounting was not possible.
        layers: diff IDs it was made of.
        stack: names of the layer folders of a mount, highest first.
        userxattr: of the mount.
        ownership: where owners and modes stand.
    """

    path: Path
    kind: Kind
    layers: tuple[str, ...]
    stack: tuple[str, ...] = ()
    userxattr: bool = False
    ownership: Ownership = Ownership.NATIVE

    def root(self) -> DirectoryRoot:
        """The value that a merger returns."""
        return DirectoryRoot(path=self.path, writable=False, ownership=self.ownership)

    def usable(self) -> bool:
        """Whether the tree is there, and not only known: after a reboot a mount is gone."""
        return mounted(self.path) if self.kind is Kind.OVERLAY else self.path.is_dir()

    def write(self, folder: Path) -> None:
        """Say so in ``folder``; on the disk when this returns."""
        write_record(
            folder,
            {
                "format": FORMAT,
                "kind": self.kind.value,
                "layers": self.layers,
                "stack": self.stack,
                "userxattr": self.userxattr,
                "ownership": self.ownership.value,
            },
        )


def read(folder: Path) -> Record | None:
    """The record in a key's folder, or None."""
    table = read_record(folder, FORMAT)
    if table is None:
        return None
    try:
        return Record(
            folder / TREE,
            Kind(str(table["kind"])),
            tuple(cast("list[str]", table["layers"])),
            tuple(cast("list[str]", table["stack"])),
            bool(table["userxattr"]),
            Ownership(str(table["ownership"])),
        )
    except (KeyError, TypeError, ValueError):
        return None


def diff_ids(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Of the layers, as a record has them."""
    return tuple(str(layer.diff_id) for layer in layers)
