"""The memory of a process that stands still, copied from outside: what it has for itself, over the file that it maps."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu import snapshot
from monocore_vmm_qemu.image import PAGE, Captured, blank, load, save

from monocore_core.errors import MachineError
from monocore_core.model.machine import MachineSpec, Share

SIZE = 64 * 1024 * 1024
#: Pages that the process writes, and those that the file behind its memory has.
WRITTEN, BEHIND = (0, 1, 2, 700, 16383), (1, 5, 9000)
_CHILD = f"""
import ctypes, mmap, os, sys
fd = int(sys.argv[1])
flags = mmap.MAP_PRIVATE if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
memory = mmap.mmap(fd, {SIZE}, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
for page in {WRITTEN}:
    memory[page * {PAGE}: (page + 1) * {PAGE}] = b"w" * {PAGE}
memory[5 * {PAGE}]  # read, and so in its page table
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
sys.stdin.read()
"""


@contextmanager
def process(backing: int) -> Generator[tuple[int, int]]:
    """One with such memory: its id, and where the memory is."""
    handed = () if backing < 0 else (backing,)
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(backing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=handed,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        yield child.pid, int(child.stdout.readline())
        child.stdin.close()


def copy_of(pid: int, address: int) -> Captured:
    captured = blank(SIZE)
    snapshot._copy(pid, address, captured)  # pyright: ignore[reportPrivateUsage]
    return captured


def pages(captured: Captured) -> dict[int, bytes]:
    """Those that are not zero, by the first byte of each."""
    whole = os.pread(captured.memory, SIZE, 0)
    found = ((number, whole[number * PAGE : (number + 1) * PAGE]) for number in range(SIZE // PAGE))
    return {number: page[:1] for number, page in found if page.strip(b"\0")}


def test_memory_that_is_a_processes_own() -> None:
    with process(-1) as (pid, address):
        captured = copy_of(pid, address)
    assert pages(captured) == dict.fromkeys(WRITTEN, b"w")
    assert os.fstat(captured.memory).st_blocks * 512 < SIZE // 8  # what it never touched takes no room
    captured.close()


def test_memory_that_is_a_copy_of_a_file() -> None:
    behind = blank(SIZE)
    for page in BEHIND:
        os.pwrite(behind.memory, b"b" * PAGE, page * PAGE)
    behind.seal()
    with process(behind.memory) as (pid, address):
        captured = copy_of(pid, address)
    assert pages(captured) == {**dict.fromkeys(BEHIND, b"b"), **dict.fromkeys(WRITTEN, b"w")}
    behind.close()
    captured.close()


def test_no_memory_there() -> None:
    with process(-1) as (pid, _), pytest.raises(MachineError, match="is not where"):
        copy_of(pid, PAGE)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    with process(-1) as (pid, address):
        captured = copy_of(pid, address)
    os.pwrite(captured.state, b"devices", 0)
    save(captured, tmp_path / "saved")
    loaded = load(tmp_path / "saved", SIZE)
    assert pages(loaded) == pages(captured)
    assert os.pread(loaded.state, 100, 0) == b"devices"
    loaded.close()
    captured.close()


def test_the_beginning_of_a_migration() -> None:
    """As QEMU's ``vmstate_configuration`` has it, with the one capability that is on."""
    found = snapshot._configuration()  # pyright: ignore[reportPrivateUsage]
    name = b"\x05\x1aconfiguration/capabilities\0\0\0\x01"
    assert found == b"\x07\0\0\0\x07microvm" + name + b"\0\0\0\x01\x0fx-ignore-shared"


def test_what_cannot_be_captured(tmp_path: Path) -> None:
    spec = MachineSpec("key", "amd64", 1, 1 << 28, tmp_path, tmp_path, tmp_path)
    assert snapshot.refuse(spec) is None
    assert "folders" in (snapshot.refuse(evolve(spec, shares=(Share("tag", tmp_path),))) or "")
    assert "arm64" in (snapshot.refuse(evolve(spec, architecture="arm64")) or "")
