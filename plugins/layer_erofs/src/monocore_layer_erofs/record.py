"""The last file written of a root: what belongs to it. A root is complete when its record and all it names are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import frozen

from monocore_core.model.rootfs import DiskFormat, DiskRoot

NAME = "root.json"
#: Of what :mod:`.build` makes; roots of another number are made anew.
FORMAT = 2
FILESYSTEM = "erofs"
_MAX_SIZE = 1 << 20


@frozen
class Piece:
    """A file behind the disk, and its size in bytes."""

    path: Path
    size: int


@frozen
class Record:
    """What a root consists of: the descriptor first, then the pieces of the disk in order."""

    format: int
    layers: tuple[str, ...]
    files: tuple[Piece, ...]

    def complete(self) -> bool:
        """Whether every file is there with its size."""
        try:
            return all(piece.path.stat().st_size == piece.size for piece in self.files)
        except OSError:
            return False

    def root(self) -> DiskRoot:
        """The value that a merger returns."""
        files = tuple(piece.path for piece in self.files)
        return DiskRoot(path=files[0], format=DiskFormat.VMDK, filesystem=FILESYSTEM, files=files)

    def dump(self) -> bytes:
        """As JSON."""
        files = [[str(piece.path), piece.size] for piece in self.files]
        return json.dumps({"format": self.format, "layers": self.layers, "files": files}).encode()


def read(folder: Path) -> Record | None:
    """The record in ``folder`` when it is one of ours and everything it names is there."""
    try:
        with (folder / NAME).open("rb") as file:
            text = file.read(_MAX_SIZE)
        record = _parse(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if record.format != FORMAT or not record.files or not record.complete():
        return None
    return record


def _parse(table: Any) -> Record:
    """By hand, since this is on the path of every start, where the converter's import would be half of it."""
    files = tuple(Piece(Path(path), int(size)) for path, size in table["files"])
    return Record(int(table["format"]), tuple(str(layer) for layer in table["layers"]), files)
