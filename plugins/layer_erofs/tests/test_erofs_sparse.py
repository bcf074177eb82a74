"""Chunk maps: whatever the segments, the file reads back as it is, and little is copied."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monocore_layer_erofs.sparse import MAX_CHUNKS, Spill, chunk_map

from monocore_core.erofs import BLOCK, Node
from monocore_core.errors import LimitExceeded
from monocore_core.layertar import Segment
from monocore_core.layertree import Scattered

TAR = b"".join(bytes([value]) * 97 for value in range(1, 251))


def mapped(
    tar: bytes, size: int, segments: tuple[Segment, ...], limit: int = 1 << 20
) -> tuple[bytes, Spill, int]:
    """The file as its chunk map says it reads, the spill, and the size of a chunk."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        file.write(tar)
        file.flush()
        spill = Spill(Path(folder, "spill"), source=1, limit=limit)
        item = Scattered(Node(stat.S_IFREG, size=size), 0, segments)
        try:
            chunks = chunk_map(file.fileno(), len(tar) - len(tar) % BLOCK, item, spill)
        finally:
            spill.close()
        spilled = Path(folder, "spill").read_bytes() if spill.blocks else b""
    assert len(spilled) == spill.blocks * BLOCK
    chunk = BLOCK << chunks.bits
    data = bytearray()
    for index, address in enumerate(chunks.addresses):
        length = min(chunk, size - index * chunk)
        if address is None:
            data += bytes(length)
            continue
        source = (tar[: len(tar) - len(tar) % BLOCK], spilled)[address[0]]
        part = source[address[1] * BLOCK : address[1] * BLOCK + length]
        assert len(part) == length
        data += part
    return bytes(data), spill, chunk


def plain(tar: bytes, size: int, segments: tuple[Segment, ...]) -> bytes:
    data = bytearray(size)
    for segment in segments:
        data[segment.offset : segment.offset + segment.length] = tar[
            segment.position : segment.position + segment.length
        ]
    return bytes(data)


@st.composite
def files(draw: st.DrawFn) -> tuple[int, tuple[Segment, ...]]:
    unit = draw(st.sampled_from((1, 256, 512, 1024, 4096)))
    cuts = sorted(draw(st.sets(st.integers(0, 40_000 // unit), max_size=12)))
    segments: list[Segment] = []
    for begin, end in zip(cuts[::2], cuts[1::2], strict=False):
        length = (end - begin) * unit
        if length <= len(TAR):
            position = draw(st.integers(0, (len(TAR) - length) // min(unit, 512))) * min(unit, 512)
            segments.append(Segment(begin * unit, length, position))
    last = segments[-1].offset + segments[-1].length if segments else 1
    return max(1, last + draw(st.sampled_from((0, 0, 1, 700, 100_000)))), tuple(segments)


@settings(max_examples=400, deadline=None)
@given(files())
def test_any_segments_read_back(file: tuple[int, tuple[Segment, ...]]) -> None:
    size, segments = file
    data, spill, _ = mapped(TAR, size, segments)
    assert data == plain(TAR, size, segments)
    assert spill.copied <= sum(segment.length for segment in segments)


def test_aligned_segments_are_not_copied_and_chunks_are_large() -> None:
    tar = os.urandom(64 * 1024)
    segments = (Segment(0, 16384, 512), Segment(65536, 32768, 512 + 16384))
    data, spill, chunk = mapped(tar, 65536 + 32768, segments)
    assert data == plain(tar, 65536 + 32768, segments)
    assert (spill.copied, spill.blocks, chunk) == (0, 0, 16384)


def test_a_ragged_end_costs_one_small_copy() -> None:
    tar = os.urandom(100 * BLOCK + 100)
    segments = (Segment(0, 99 * BLOCK + 100, BLOCK),)
    data, spill, _ = mapped(tar, 99 * BLOCK + 100, segments)
    assert data == tar[BLOCK:]
    assert spill.copied == 100


def test_a_huge_hole_needs_few_chunks() -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        file.write(b"!" * 512)
        file.flush()
        size = 1 << 43
        spill = Spill(Path(folder, "spill"), source=1, limit=1 << 20)
        item = Scattered(Node(stat.S_IFREG, size=size), 0, (Segment(size // 2 + 4096, 512, 0),))
        chunks = chunk_map(file.fileno(), 512, item, spill)
        spill.close()
        assert len(chunks.addresses) <= MAX_CHUNKS
        assert sum(address is not None for address in chunks.addresses) == 1
        assert spill.copied == 512
        assert (Path(folder) / "spill").stat().st_blocks * 512 < 1 << 20


def test_copies_and_chunks_are_bounded() -> None:
    with pytest.raises(LimitExceeded, match="block boundaries"):
        mapped(TAR, 4000, (Segment(1, 3000, 0),), limit=2000)
    with tempfile.TemporaryDirectory() as folder:
        spill = Spill(Path(folder, "spill"), source=1, limit=0)
        item = Scattered(Node(stat.S_IFREG, size=1 << 62), 0, ())
        with pytest.raises(LimitExceeded, match="too large"):
            chunk_map(0, 0, item, spill)
