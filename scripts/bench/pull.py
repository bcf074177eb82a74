"""From a registry to a root that a VM can attach, against skopeo and umoci, and against the machine's own limit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from isal import isal_zlib

from monocore_core.testing.registry import LocalRegistry
from scripts.bench.content import MIB, Content, Layout, layout
from scripts.bench.measure import Claim, Section, in_turns, timed
from scripts.bench.peers import TIMEOUT, PeerFailed, push, skopeo_and_umoci
from scripts.bench.served import PROGRAM

TITLE = "pull + root: registry on loopback to runnable"
#: What the design asks for.
SPEEDUP, LIMIT_SHARE = 5.0, 0.7
#: Pieces of at most 1 MiB, and what they inflate to, that may wait to be hashed.
AHEAD = 8


def measure(cache: Path, quick: bool) -> Section:
    """Run the comparison."""
    content = Content(100 * MIB, 3_000, 2) if quick else Content(640 * MIB, 15_000, 2)
    image = layout(content, cache)
    packed = sum(blob.stat().st_size for blob in image.blobs)
    plain = sum(tar.stat().st_size for tar in image.tars)
    with LocalRegistry(cache / "registry") as registry:
        reference = push(image.path, registry.address, "bench/pull")
        rows = in_turns(
            "pull",
            {
                "monocore": lambda: _in_fresh_folder(cache, lambda folder: _ours(reference, folder)),
                "skopeo copy + umoci unpack": lambda: _in_fresh_folder(
                    cache, lambda folder: timed(lambda: skopeo_and_umoci(reference, folder))
                ),
                "gunzip + both SHA-256, nothing else": lambda: timed(lambda: limit(image)),
            },
            runs=5,
        )
    ours, peer, bound = rows.values()
    speedup, share = peer.median / ours.median, bound.median / ours.median
    return Section(
        TITLE,
        (ours, peer, bound),
        (
            Claim(
                f"{speedup:.1f} times as fast as skopeo + umoci (target {SPEEDUP:g})",
                None if quick else speedup >= SPEEDUP,
            ),
            Claim(
                f"{share:.2f} of the limit (target {LIMIT_SHARE:g})", None if quick else share >= LIMIT_SHARE
            ),
        ),
        (
            f"image: {packed / 1e6:.0f} MB gzip, {plain / 1e6:.0f} MB of tar, {content.files} files",
            "monocore is `monocore pull`, with the start of its process, and ends with its layers synced; each run begins on a synced disk",
        ),
    )


def _in_fresh_folder(cache: Path, work: Callable[[Path], float]) -> float:
    """Work in a folder of its own, on a disk that has nothing left to write.

    What an earlier run left to the kernel would be written when monocore syncs its layers, and be counted as monocore's: on a
    journalling file system a sync waits for others' data. The peers sync nothing.
    """
    folder = Path(tempfile.mkdtemp(dir=cache))
    os.sync()
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder)


def _ours(reference: str, home: Path) -> float:
    """The command that a user gives, which makes the root as well."""
    argv = [PROGRAM, "--home", str(home), "pull", reference]

    def work() -> None:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            raise PeerFailed(f"monocore: {done.stderr[-2000:]}")

    seconds = timed(work)
    if not any((home / "backends").glob("layer_*/*")):
        raise PeerFailed("monocore: it has pulled, and made no root")
    return seconds


def limit(image: Layout) -> None:
    """The least that can be done: read, hash, inflate and hash every layer, all layers at once."""
    with ThreadPoolExecutor(len(image.blobs)) as pool:
        for _ in pool.map(_verify, image.blobs):
            pass


def _verify(blob: Path) -> None:
    """One layer: this thread reads and inflates, two others hash; all three release the interpreter's lock."""
    packed, plain = hashlib.sha256(), hashlib.sha256()
    inflate = isal_zlib.decompressobj(31)  # pyright: ignore[reportUnknownMemberType] - its stub
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second, blob.open("rb") as stream:
        while chunk := stream.read(MIB):
            pending.append(first.submit(packed.update, chunk))
            data: bytes = inflate.decompress(chunk)  # pyright: ignore[reportUnknownMemberType] - its stub
            pending.append(second.submit(plain.update, data))
            while len(pending) > AHEAD:
                pending.popleft().result()
