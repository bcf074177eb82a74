"""Makes one folder of an image's layers, and says what it is. Blocking; run in threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from attrs import frozen

from monocore_core.foldertree import Keep, Limits, merge_into
from monocore_core.keyed import Check, read_record, storage_errors, sync_all, write_record
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot, Ownership

#: Of what this module makes; folders of another kind are made anew.
FORMAT = "layer_copy 1"
#: The tree, in a key's folder.
TREE = "root"


@frozen
class Base:
    """A complete folder.

    Attributes:
        path: the tree's root.
        layers: the diff IDs it was made of.
        ownership: where owners and modes stand.
    """

    path: Path
    layers: tuple[str, ...]
    ownership: Ownership

    def root(self, *, writable: bool) -> DirectoryRoot:
        """The value that a merger returns."""
        return DirectoryRoot(path=self.path, writable=writable, ownership=self.ownership)


def diff_ids(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Of the layers, as a record has them."""
    return tuple(str(layer.diff_id) for layer in layers)


def read(folder: Path) -> Base | None:
    """What is complete in a key's folder, or None."""
    table = read_record(folder, FORMAT)
    if table is None or not (folder / TREE).is_dir():
        return None
    try:
        layers = cast("list[str]", table["layers"])
        return Base(folder / TREE, tuple(layers), Ownership(str(table["ownership"])))
    except (KeyError, TypeError, ValueError):
        return None


def record(base: Base, folder: Path, **more: str) -> None:
    """Say that ``folder`` is complete, when everything in it is on the disk."""
    sync_all(folder)
    write_record(folder, {"format": FORMAT, "layers": base.layers, "ownership": base.ownership.value, **more})


def build(
    layers: Sequence[Layer], places: tuple[Path, Path], max_entries: int, check: Check
) -> tuple[Base, Sequence[str]]:
    """Make the tree.

    Args:
        layers: lowest first.
        places: an empty folder, and where it will be in the end.
        max_entries: of all layers.
        check: called now and then; raises to stop.

    Returns:
        What it is, and what could not be kept, in sentences.

    Raises:
        Corrupt: a layer is malformed; named. Likewise LimitExceeded and Unsupported.
        StorageError: the host's disk refused.
    """
    work, final = places
    keep = Keep.here()
    with storage_errors(work):
        merge_into(work / TREE, layers, keep, Limits(max_entries), check)
        check()
        base = Base(final / TREE, diff_ids(layers), keep.ownership)
        record(base, work)
    return base, keep.warnings()
