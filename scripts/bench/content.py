"""Images to measure with, written once as an OCI layout, and found again by later runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

from attrs import asdict, frozen

from monocore_core.testing.samples import synthetic_image

MIB = 1024 * 1024
#: Raised when the images come out differently, so that older ones are not found again.
_VERSION = 1


@frozen
class Content:
    """What an image holds.

    Attributes:
        size: bytes of all files, uncompressed; gzip makes about 0.4 of it.
        files: how many regular files.
        layers: over how many layers they are spread.
    """

    size: int
    files: int
    layers: int


@frozen
class Layout:
    """An OCI image layout on disk, and its layers uncompressed beside it.

    Attributes:
        path: the layout's folder; the image's tag is ``latest``.
        blobs: compressed layers, lowest first.
        tars: the same, uncompressed, named by their digests.
    """

    path: Path
    blobs: tuple[Path, ...]
    tars: tuple[Path, ...]


def layout(content: Content, cache: Path) -> Layout:
    """The image, made the first time and found later."""
    key = hashlib.sha256(json.dumps([asdict(content), _VERSION]).encode()).hexdigest()[:16]
    target = cache / f"image-{key}"
    if not target.exists():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _write(content, partial)
        partial.rename(target)
    names: list[list[str]] = json.loads((target / "layers.json").read_text())
    blobs = target / "blobs" / "sha256"
    return Layout(
        target,
        tuple(blobs / digest for digest, _ in names),
        tuple(target / f"{diff_id}.tar" for _, diff_id in names),
    )


def _write(content: Content, folder: Path) -> None:
    packed = folder / "packed"
    image = synthetic_image(packed, size=content.size, files=content.files, layers=content.layers)
    image.write_layout(folder)
    shutil.rmtree(packed)
    names = [(layer.digest.hex, diff.hex) for layer, diff in zip(image.layers, image.diff_ids, strict=True)]
    for digest, diff_id in names:
        with (
            gzip.open(folder / "blobs" / "sha256" / digest) as source,
            (folder / f"{diff_id}.tar").open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink, MIB)
    (folder / "layers.json").write_text(json.dumps(names))
