"""The merged root of a large image whose layers are in the store already: the first time, and again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from monocore_core.backends import Backends
from monocore_core.config.values import Settings
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.model.digest import Digest
from monocore_core.model.events import ignore
from monocore_core.model.image import Layer
from monocore_core.plugins import discover
from scripts.bench.content import MIB, Content, layout
from scripts.bench.measure import Claim, Row, Section

TITLE = "assembly: layers in the store to a merged root"
MERGER = "layer_erofs"
#: What the design asks for, seconds.
FIRST, AGAIN = 0.25, 0.005


def measure(cache: Path, quick: bool) -> Section:
    """Assemble the same layers into fresh homes, twice each."""
    content = Content(50 * MIB, 1_000, 5) if quick else Content(500 * MIB, 10_000, 5)
    layers = tuple(
        Layer(Digest("sha256", tar.stem), tar, tar.stat().st_size) for tar in layout(content, cache).tars
    )
    first: list[float] = []
    again: list[float] = []
    written = 0
    for _ in range(5):
        home = Path(tempfile.mkdtemp(dir=cache))
        try:
            for samples, seconds in zip((first, again), asyncio.run(_twice(home, layers)), strict=True):
                samples.append(seconds)
            written = sum(path.lstat().st_blocks * 512 for path in home.rglob("*") if path.is_file())
        finally:
            shutil.rmtree(home)
    made, found = Row("assembly", "first", tuple(first)), Row("assembly", "again", tuple(again))
    size = sum(layer.size for layer in layers)
    # the targets are set for the full size
    return Section(
        TITLE,
        (made, found),
        (
            Claim(
                f"first in {made.median:.3f} s (target {FIRST:g} s)", None if quick else made.median <= FIRST
            ),
            Claim(
                f"again in {found.median * 1000:.2f} ms (target {AGAIN * 1000:g} ms)", found.median <= AGAIN
            ),
        ),
        (
            f"{size / 1e6:.0f} MB of tar in {content.layers} layers, {content.files} files; {written / 1e6:.2f} MB written",
        ),
    )


async def _twice(home: Path, layers: Sequence[Layer]) -> tuple[float, float]:
    async with AsyncExitStack() as stack:
        backends = Backends(
            discover(),
            Settings(home=home),
            lambda _, name: (home / name / "state", home / name / "cache"),
            ignore,
            stack,
        )
        for part in ("state", "cache"):
            (home / MERGER / part).mkdir(parents=True)
        merger = await backends.layer_merger(MERGER)
        return await _timed(merger, layers), await _timed(merger, layers)


async def _timed(merger: LayerMerger, layers: Sequence[Layer]) -> float:
    started = time.perf_counter()
    await merger.merge("bench", layers)
    return time.perf_counter() - started
