"""Decompression: any split of any concatenation gives the same bytes as the standard library; blocks stay small."""

import gzip
import platform
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.inflate import BLOCK, GzipInflater, Inflater, SniffingInflater, ZstdInflater, layers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SKIPPABLE = b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello"


def run(data: bytes, pieces: list[int] | None = None, inflater: Inflater | None = None) -> bytes:
    """Feed ``data`` cut at the given lengths (repeated), and check every block."""
    target = inflater or SniffingInflater()
    out = bytearray()
    position = 0
    sizes = pieces or [len(data) or 1]
    turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        turn += 1
        for block in target.feed(data[position : position + size]):
            assert 0 < len(block) <= BLOCK
            out += block
        position += size
    target.finish()
    return bytes(out)


def zeros(byte: int, count: int) -> bytes:
    """Compresses a thousandfold."""
    return bytes([byte]) * count


def noise(seed: int, count: int) -> bytes:
    """Does not compress."""
    return random.Random(seed).randbytes(count)


contents = st.lists(
    st.one_of(
        st.binary(max_size=2000),
        st.builds(zeros, st.integers(0, 255), st.integers(0, 3 * BLOCK)),
        st.builds(noise, st.integers(0, 9), st.integers(0, 300_000)),
    ),
    min_size=1,
    max_size=4,
)
cuts = st.lists(st.integers(1, 100_000), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(contents, cuts, st.integers(0, 600))
def test_gzip_members_with_padding(parts: list[bytes], pieces: list[int], padding: int) -> None:
    data = b"".join(gzip.compress(part, 1) for part in parts) + bytes(padding)
    assert run(data, pieces) == b"".join(parts)
    assert run(data) == b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(contents, cuts)
def test_zstd_frames(parts: list[bytes], pieces: list[int]) -> None:
    data = b"".join(SKIPPABLE + zstd.compress(part) for part in parts) + SKIPPABLE
    assert run(data, pieces) == b"".join(parts)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=4, max_size=5000), cuts)
def test_what_is_neither_is_itself(data: bytes, pieces: list[int]) -> None:
    assume(data[:2] != b"\x1f\x8b" and data[1:4] not in {b"\xb5\x2f\xfd", b"\x2a\x4d\x18"})
    assert run(data, pieces) == data


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=3000), st.data())
def test_every_truncation_is_noticed(content: bytes, data: st.DataObject) -> None:
    for whole in (gzip.compress(content), zstd.compress(content)):
        end = data.draw(st.integers(0, len(whole) - 1))
        with pytest.raises(Corrupt, match=r"ends early|too short|damaged"):
            run(whole[:end], inflater=SniffingInflater())


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_hostile_bytes_are_refused_or_give_bytes(data: bytes) -> None:
    for head in (b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", gzip.compress(b"x")):
        try:
            run(head + data)
        except Corrupt as error:
            assert error.brief.startswith("it")  # noqa: PT017 - either outcome is right


def test_garbage_behind_the_end_is_refused() -> None:
    for whole in (gzip.compress(b"x" * 100), zstd.compress(b"x" * 100)):
        with pytest.raises(Corrupt, match=r"followed by something else|damaged"):
            run(whole + b"garbage, and some more of it")


@pytest.mark.parametrize(
    ("kind", "one"),
    [(GzipInflater, gzip.compress(b"", mtime=0)), (ZstdInflater, SKIPPABLE)],
    ids=["gzip", "zstd"],
)
def test_the_number_of_members_is_bounded(
    monkeypatch: pytest.MonkeyPatch, kind: type[Inflater], one: bytes
) -> None:
    monkeypatch.setattr(layers, "MAX_MEMBERS", 100)
    assert run(one * 100, inflater=kind()) == b""
    with pytest.raises(LimitExceeded, match="more than 100"):
        run(one * 101, inflater=kind())


def test_without_isal_zlib_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    monkeypatch.setattr(layers, "_zlib", zlib)
    content = random.Random(1).randbytes(100_000) + bytes(5 * BLOCK)
    data = gzip.compress(content, 1) + gzip.compress(b"tail") + bytes(9)
    assert run(data, [1000, 7]) == content + b"tail"
    with pytest.raises(Corrupt, match="damaged"):
        run(data[:50] + b"\xff" * 50 + data[100:])


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory by rules of their own"
)
def test_the_memory_of_blocks_is_used_again(tmp_path: Path) -> None:
    piece = bytes(random.Random(1).choices(b"abcdef", weights=(9, 3, 1, 1, 1, 1), k=1 << 20))
    packed = tmp_path / "layer.gz"
    packed.write_bytes(gzip.compress(b"".join(piece[i:] + piece[:i] for i in range(32)), 1))
    program = """
import resource, sys
from monocore_core.inflate import SniffingInflater, keep_memory
keep_memory()
inflater, size = SniffingInflater(), 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
with open(sys.argv[1], "rb") as stream:
    while data := stream.read(512 * 1024):
        size += sum(map(len, inflater.feed(data)))
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize())
"""
    argv = [sys.executable, "-c", program, str(packed)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    size, fresh = map(int, done.stdout.split())
    assert size == 32 << 20
    assert fresh < size / 2  # each byte of output in a fresh page, where nothing is kept
