"""Chunk maps of files that are not one run of whole blocks; what fits no block is copied into the spill file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from monocore_core.erofs import BLOCK, Chunks
from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.layertar import Segment
from monocore_core.layertree import Scattered

#: Chunks of one file: beyond it, chunks get larger, and those that are partly hole are copied.
MAX_CHUNKS = 1 << 16
#: Chunks of all files of a root.
MAX_ALL_CHUNKS = 1 << 20
MAX_BITS = 31
_COPY = 1 << 20


@frozen
class Run:
    """Bytes ``start`` to ``end`` of a file stand ``shift`` further on in the tar."""

    start: int
    end: int
    shift: int


@define(eq=False)
class Spill:
    """A file for data that EROFS cannot refer to where it is. Made when first needed; holes stay holes.

    Attributes:
        path: where to make it.
        source: the number by which chunks refer to it.
        limit: bytes that may be copied into it.
        blocks: allocated so far.
        copied: bytes copied so far.
        chunks: of all files so far.
    """

    path: Path
    source: int
    limit: int
    blocks: int = 0
    copied: int = 0
    chunks: int = 0
    _file: int = field(default=-1)

    def place(self, tar: int, low: int, high: int, runs: Sequence[Run]) -> tuple[int, int]:
        """Copy bytes ``low`` to ``high`` of a file, whose data in the tar ``runs`` tell, to new blocks."""
        if self._file < 0:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        at = self.blocks * BLOCK
        for run in runs:
            begin, end = max(run.start, low), min(run.end, high)
            self.copied += end - begin
            if self.copied > self.limit:
                raise LimitExceeded(
                    f"more than {self.limit} bytes of sparse files do not stand on block boundaries",
                    hint="raise max_spill in [plugins.layer_erofs]",
                )
            _copy(tar, begin + run.shift, self._file, at + begin - low, end - begin)
        address = (self.source, self.blocks)
        self.blocks += -(-(high - low) // BLOCK)
        return address

    def close(self) -> None:
        """Bring the file to its size and to the disk."""
        if self._file >= 0:
            os.ftruncate(self._file, self.blocks * BLOCK)
            os.fsync(self._file)
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def chunk_map(tar: int, usable: int, item: Scattered, spill: Spill) -> Chunks:
    """The chunk map of a file.

    Args:
        tar: descriptor of the layer that holds it.
        usable: bytes of that tar that are whole blocks.
        item: the file, not empty.
        spill: for what does not fit.

    Raises:
        LimitExceeded: too much to copy, too many chunks.
    """
    size = item.node.size
    runs = list(_runs(item.segments))
    bits = _bits(runs, size, usable)
    chunk = BLOCK << bits
    total = -(-size // chunk)
    spill.chunks += total
    if total > MAX_CHUNKS or spill.chunks > MAX_ALL_CHUNKS:
        raise LimitExceeded(
            f"sparse files need more than {MAX_ALL_CHUNKS} chunks, or one of {size} bytes is too large"
        )
    addresses: list[tuple[int, int] | None] = []
    first = 0
    for low in range(0, size, chunk):
        high = min(low + chunk, size)
        while first < len(runs) and runs[first].end <= low:
            first += 1
        last = first
        while last < len(runs) and runs[last].start < high:
            last += 1
        here = runs[first:last]
        if not here:
            addresses.append(None)
        elif _fits(here, low, high, usable):
            addresses.append((item.source, (low + here[0].shift) // BLOCK))
        else:
            addresses.append(spill.place(tar, low, high, here))
    return Chunks(bits, tuple(addresses))


def _runs(segments: Sequence[Segment]) -> Iterator[Run]:
    """Segments, neighbours joined, empty ones left out."""
    current: Run | None = None
    for segment in segments:
        if not segment.length:
            continue
        run = Run(segment.offset, segment.offset + segment.length, segment.position - segment.offset)
        if current is None:
            current = run
        elif current.end == run.start and current.shift == run.shift:
            current = Run(current.start, run.end, run.shift)
        else:
            yield current
            current = run
    if current is not None:
        yield current


def _bits(runs: Sequence[Run], size: int, usable: int) -> int:
    """The largest chunks of which none is partly data and partly hole, but large enough that there are few."""
    boundaries = 0
    for run in runs:
        boundaries |= run.start | (0 if run.end == size else run.end)
        if run.start + run.shift < usable < run.end + run.shift:
            boundaries |= usable - run.shift
    blocks = -(-size // BLOCK)
    most = min(MAX_BITS, (blocks - 1).bit_length())
    aligned = ((boundaries & -boundaries).bit_length() - 1) - 9 if boundaries else most
    least = (-(-blocks // MAX_CHUNKS) - 1).bit_length()
    return min(max(min(aligned, most), least, 0), MAX_BITS)


def _fits(runs: Sequence[Run], low: int, high: int, usable: int) -> bool:
    """Whether one run covers the chunk and stands on block boundaries of the tar."""
    run = runs[0]
    position = low + run.shift
    return (
        len(runs) == 1
        and run.start <= low
        and run.end >= high
        and not position % BLOCK
        and position + high - low <= usable
    )


def _copy(source: int, position: int, target: int, at: int, length: int) -> None:
    while length:
        data = os.pread(source, min(length, _COPY), position)
        if not data:
            raise Corrupt("a sparse file's data goes beyond the end of its tar")
        os.pwrite(target, data, at)
        position, at, length = position + len(data), at + len(data), length - len(data)
