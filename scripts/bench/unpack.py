"""The merged root of a large image as a folder: layer_copy against what unpacks the same uncompressed layers elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from monocore_layer_copy import PRIVATE, SHARED

from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from scripts.bench.content import MIB, Content, Layout, layout
from scripts.bench.measure import Claim, Row, Section, in_turns, timed
from scripts.bench.peers import need, run

TITLE = "unpack: layers in the store to a folder"
#: What the design asks for: times faster than umoci.
FACTOR = 2.0
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OURS, OURS_AGAIN, TAR, UMOCI = "layer_copy", "layer_copy_private, base there", "tar -x", "umoci unpack"


def measure(cache: Path, quick: bool) -> Section:
    """Unpack the same layers in turns, each time into a fresh folder."""
    content = Content(50 * MIB, 1_000, 5) if quick else Content(500 * MIB, 10_000, 5)
    image = layout(content, cache)
    layers = tuple(Layer(Digest("sha256", tar.stem), tar, tar.stat().st_size) for tar in image.tars)
    plain = _uncompressed(image, cache)

    def ours(folder: Path) -> Callable[[], object]:
        return lambda: asyncio.run(_merge(folder, layers))

    def private(folder: Path) -> Callable[[], object]:
        asyncio.run(_copy(folder, "first", layers))
        os.sync()
        return lambda: asyncio.run(_copy(folder, "second", layers))

    def by_tar(folder: Path) -> Callable[[], object]:
        return lambda: _extract(folder, image.tars)

    def by_umoci(folder: Path) -> Callable[[], object]:
        rootless = () if os.geteuid() == 0 else ("--rootless",)
        argv = [need("umoci", "umoci"), "unpack", *rootless, "--image", f"{plain}:latest"]
        return lambda: run([*argv, str(folder / "bundle")])

    work = {OURS: ours, TAR: by_tar, UMOCI: by_umoci, OURS_AGAIN: private}

    def once(prepare: Callable[[Path], Callable[[], object]]) -> Callable[[], float]:
        return lambda: _once(cache, prepare)

    rows = in_turns(
        "unpack",
        {name: once(prepare) for name, prepare in work.items()},
        runs=3,
    )
    size = sum(layer.size for layer in layers)
    return Section(
        TITLE,
        tuple(rows.values()),
        (_claim(rows[UMOCI], rows[OURS], FACTOR), _claim(rows[TAR], rows[OURS], None)),
        (
            f"{size / 1e6:.0f} MB of tar in {content.layers} layers, {content.files} files",
            "our times include bringing all to the disk (syncfs), the others' do not; umoci also hashes what it reads",
        ),
    )


def _claim(peer: Row, ours: Row, factor: float | None) -> Claim:
    ratio = peer.median / ours.median
    target = "" if factor is None else f" (target {factor:g} times)"
    return Claim(
        f"{ratio:.1f} times as fast as {peer.name}{target}", None if factor is None else ratio >= factor
    )


def _once(cache: Path, prepare: Callable[[Path], Callable[[], object]]) -> float:
    """Seconds of one run in a folder of its own; what it leaves to be written is not the next one's."""
    folder = Path(tempfile.mkdtemp(dir=cache))
    try:
        work = prepare(folder)
        os.sync()
        return timed(work)
    finally:
        shutil.rmtree(folder)
        os.sync()


async def _merge(folder: Path, layers: Sequence[Layer]) -> None:
    async with SHARED.create(Host(folder / "state", folder), SHARED.options()) as merger:
        await merger.merge("bench", layers)


async def _copy(folder: Path, key: str, layers: Sequence[Layer]) -> None:
    async with PRIVATE.create(Host(folder / "state", folder), PRIVATE.options()) as merger:
        await merger.merge(key, layers)


def _extract(folder: Path, tars: Sequence[Path]) -> None:
    for tar in tars:
        run([need("tar", "tar"), "-x", "-C", str(folder), "-f", str(tar)])


def _uncompressed(image: Layout, cache: Path) -> Path:
    """The image as a layout whose layers are not compressed, so that decompression is nobody's time."""
    target = cache / f"{image.path.name}-plain"
    if target.exists():
        return target
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    blobs = partial / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    index = json.loads((image.path / "index.json").read_text())
    [entry] = index["manifests"]
    manifest = json.loads(_blob(image.path, entry["digest"]).read_bytes())
    config = _blob(image.path, manifest["config"]["digest"])
    shutil.copyfile(config, blobs / config.name)
    manifest["layers"] = []
    for tar in image.tars:
        (blobs / tar.stem).hardlink_to(tar)
        manifest["layers"].append(
            {"mediaType": _LAYER, "digest": f"sha256:{tar.stem}", "size": tar.stat().st_size}
        )
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    entry |= {"digest": f"sha256:{digest}", "size": len(data), "mediaType": _MANIFEST}
    (partial / "index.json").write_text(json.dumps(index))
    shutil.copyfile(image.path / "oci-layout", partial / "oci-layout")
    partial.rename(target)
    return target


def _blob(path: Path, digest: str) -> Path:
    return path / "blobs" / "sha256" / digest.removeprefix("sha256:")
