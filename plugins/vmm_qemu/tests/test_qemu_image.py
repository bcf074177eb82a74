"""A captured machine on disk and in memory: whole or refused, and never changed."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monocore_vmm_qemu.image import PAGE, Captured, blank, load, save

from monocore_core.errors import Corrupt

SIZE = 64 * PAGE


def filled(pages: dict[int, bytes], state: bytes = b"state of devices") -> Captured:
    captured = blank(SIZE)
    for number, content in pages.items():
        os.pwrite(captured.memory, content, number * PAGE)
    os.pwrite(captured.state, state, 0)
    return captured


def memory_of(captured: Captured) -> bytes:
    return os.pread(captured.memory, SIZE, 0)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.integers(0, 63), st.binary(min_size=0, max_size=PAGE), max_size=20),
    st.binary(max_size=100),
)
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, pages: dict[int, bytes], state: bytes
) -> None:
    path = tmp_path_factory.mktemp("template") / "t"
    before = filled(pages, state)
    save(before, path)
    assert path.stat().st_mode & 0o777 == 0o600
    after = load(path, SIZE)
    assert memory_of(after) == memory_of(before)
    assert os.pread(after.state, 1000, 0) == state
    before.close()
    after.close()


def test_zero_pages_take_no_room(tmp_path: Path) -> None:
    captured = filled({3: b"x" * PAGE, 40: bytes(PAGE)})
    save(captured, tmp_path / "t")
    captured.close()
    assert (tmp_path / "t").stat().st_size < 2 * PAGE


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    captured = filled({number: bytes([number]) * PAGE for number in range(1, 20, 2)})
    path = tmp_path / "t"
    save(captured, path)
    captured.close()
    return path


def test_any_changed_byte_is_noticed(saved: Path) -> None:
    whole = saved.read_bytes()
    for place in [*range(0, 400, 7), *range(400, len(whole), 997), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 0x21
        saved.write_bytes(damaged)
        with pytest.raises(Corrupt):
            load(saved, SIZE)
    saved.write_bytes(whole)
    load(saved, SIZE).close()


@pytest.mark.parametrize("keep", [0, 3, 8, 60, 5000, -1])
def test_a_shortened_file_is_noticed(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(Corrupt):
        load(saved, SIZE)


def test_a_longer_file_is_noticed(saved: Path) -> None:
    with saved.open("ab") as file:
        file.write(b"more")
    with pytest.raises(Corrupt):
        load(saved, SIZE)


def test_another_size_of_memory_is_refused(saved: Path) -> None:
    with pytest.raises(Corrupt, match="another kind"):
        load(saved, 2 * SIZE)


def test_nobody_can_change_what_was_loaded(saved: Path) -> None:
    captured = load(saved, SIZE)
    again = os.open(f"/proc/self/fd/{captured.memory}", os.O_RDWR)
    with pytest.raises(PermissionError):
        os.pwrite(again, b"other", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(again, 0)
    with pytest.raises(PermissionError):
        mmap.mmap(again, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with mmap.mmap(again, SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as own:
        own[PAGE : PAGE + 5] = b"other"  # a copy's writes are its own
        assert memory_of(captured)[PAGE : PAGE + 5] == b"\x01" * 5
    os.close(again)
    captured.close()


def test_what_somebody_writes_is_not_sealed() -> None:
    captured = filled({})
    with mmap.mmap(captured.memory, SIZE), pytest.raises(OSError, match="busy"):
        captured.seal()
    captured.close()


def test_the_state_is_read_from_its_beginning_by_each() -> None:
    captured = filled({}, b"0123456789")
    first, second = captured.open_state(), captured.open_state()
    assert os.read(first, 5) == os.read(second, 5) == b"01234"
    for descriptor in (first, second):
        os.close(descriptor)
    captured.close()
