"""Makes one root in a folder: layers to tree, tree to metadata, metadata and tars to one disk. Blocking; run in a thread."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from monocore_core.erofs import BLOCK, Limits, plan, render
from monocore_core.garbage import postponed
from monocore_core.keyed import storage_errors, sync_folder, write_file
from monocore_core.layertree import Tree, distinct, merge, named
from monocore_core.model.image import Layer
from monocore_layer_erofs import record
from monocore_layer_erofs.options import ErofsOptions
from monocore_layer_erofs.record import FORMAT, Piece, Record
from monocore_layer_erofs.sparse import Spill, chunk_map
from monocore_layer_erofs.vmdk import Extent, descriptor

DESCRIPTOR = "disk.vmdk"
METADATA = "metadata.erofs"
SPILL = "spill.data"
VOLUME = b"monocore"


@frozen
class Job:
    """One root to make.

    Attributes:
        layers: lowest first.
        folder: empty, for the files; temporary.
        final: where ``folder`` will be in the end.
        options: bounds.
        warn: told in a sentence what was left out.
        check: called now and then; raises to stop.
    """

    layers: Sequence[Layer]
    folder: Path
    final: Path
    options: ErofsOptions
    warn: Callable[[str], None]
    check: Callable[[], None]


def build(job: Job) -> Record:
    """Make the root's files, and its record last; everything is on the disk when this returns.

    Raises:
        Corrupt: a layer is malformed; the message names it.
        Unsupported: an entry, or a path on the host, that cannot be represented.
        LimitExceeded: beyond the options' bounds.
        StorageError: the host's disk refused, or a layer cannot be read.
    """
    with storage_errors(job.folder), ExitStack() as stack, postponed():
        return _build(job, stack)


def _build(job: Job, stack: ExitStack) -> Record:
    layers = distinct(job.layers)
    spill = Spill(job.folder / SPILL, source=len(layers), limit=job.options.max_spill)
    stack.callback(spill.abandon)
    tree = _merge(job, layers, stack, spill)
    layout = plan(tree.root, Limits(inodes=job.options.max_entries * 2, size=job.options.max_metadata))
    job.check()
    spill.close()
    sizes = {index: layers[index].size // BLOCK for index in layout.sources if index < len(layers)}
    if spill.blocks:
        sizes[spill.source] = spill.blocks
    starts, end = _starts(sizes, layout.blocks)
    metadata = render(layout, starts, end=end, uuid=_uuid(job.layers), name=VOLUME)
    job.check()
    write_file(job.folder / METADATA, metadata)
    pieces = [Piece(job.final / METADATA, len(metadata))]
    for index in sorted(sizes):
        spilled = index == spill.source
        pieces.append(
            Piece(job.final / SPILL, spill.blocks * BLOCK)
            if spilled
            else Piece(Path(os.path.abspath(layers[index].path)), layers[index].size)  # noqa: PTH100 - no symlinks resolved
        )
    text = descriptor(Extent(piece.path, piece.size // BLOCK) for piece in pieces)
    write_file(job.folder / DESCRIPTOR, text)
    made = Record(
        format=FORMAT,
        layers=tuple(str(layer.diff_id) for layer in job.layers),
        files=(Piece(job.final / DESCRIPTOR, len(text)), *pieces),
    )
    write_file(job.folder / record.NAME, made.dump())
    sync_folder(job.folder)
    return made


def _merge(job: Job, layers: Sequence[Layer], stack: ExitStack, spill: Spill) -> Tree:
    """Apply the layers, and give chunk maps to the files that need them."""
    tree = Tree(max_entries=job.options.max_entries, warn=job.warn, check=job.check)
    merge(tree, job.layers)
    tars: dict[int, int] = {}
    for item in tree.reachable(tree.scattered):
        layer = layers[item.source]
        with named(layer):
            if item.source not in tars:
                tars[item.source] = stack.enter_context(layer.path.open("rb")).fileno()
            usable = layer.size - layer.size % BLOCK
            item.node.chunks = chunk_map(tars[item.source], usable, item, spill)
        job.check()
    return tree


def _starts(sizes: Mapping[int, int], first: int) -> tuple[dict[int, int], int]:
    """At which block of the disk each source begins, and where the disk ends."""
    starts: dict[int, int] = {}
    for index in sorted(sizes):
        starts[index] = first
        first += sizes[index]
    return starts, first


def _uuid(layers: Sequence[Layer]) -> bytes:
    text = "\n".join((f"monocore layer_erofs {FORMAT}", *(str(layer.diff_id) for layer in layers)))
    return hashlib.sha256(text.encode()).digest()[:16]
