"""Taking a kernel out of a library, wrapping it, and keeping it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.errors import Corrupt, NotFound
from monocore_core.vmmkit.elf import Elf
from monocore_core.vmmkit.guestkernel import extract, find_source, prepare
from monocore_core.vmmkit.pvh import pvh_elf

LOAD = 0x1000000
ENTRY = LOAD + 0x40


def image(entry: int = ENTRY, *, reloc: int | None = None, size: int = 8192) -> bytes:
    notes = struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", entry)
    if reloc is not None:
        notes = struct.pack("<III", 4, 12, 19) + b"Xen\0" + struct.pack("<III", 1, reloc, 1 << 30) + notes
    return (b"\xfc" * 256 + notes).ljust(size, b"\0")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library as libkrunfw's build makes one, with a constructor that must never run."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc (Debian package gcc)")
    folder = tmp_path_factory.mktemp("library")
    body = ",".join(str(byte) for byte in image())
    (folder / "krunfw.c").write_text(
        f"#include <stdlib.h>\n__attribute__((aligned(65536))) char KERNEL_BUNDLE[] = {{{body},0}};\n"
        "char *krunfw_get_kernel(void) { return KERNEL_BUNDLE; }\n"
        "__attribute__((constructor)) static void run(void) { abort(); }\n"
    )
    target = folder / "libkrunfw.so.5"
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", str(target), str(folder / "krunfw.c")], check=True)
    return target


def test_the_image_is_taken_out_and_wrapped(library: Path, tmp_path: Path) -> None:
    made = prepare(library, "amd64", tmp_path / "cache")
    assert made.path.read_bytes()[4096:] == image()
    again = prepare(library, "amd64", tmp_path / "cache")
    assert again == made
    assert made.path.name == f"kernel-{made.digest}.elf"
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_a_start_does_not_read_it_again(library: Path, tmp_path: Path) -> None:
    made = prepare(library, "amd64", tmp_path)
    made.path.write_bytes(b"other bytes")
    assert prepare(library, "amd64", tmp_path).path.read_bytes() == b"other bytes"
    os.utime(library)
    assert prepare(library, "amd64", tmp_path).path.read_bytes()[:4] == b"\x7fELF", "a new file is looked at"


def test_an_emptied_cache_is_filled_again(library: Path, tmp_path: Path) -> None:
    made = prepare(library, "amd64", tmp_path)
    made.path.unlink()
    assert prepare(library, "amd64", tmp_path) == made
    assert made.path.is_file()


def test_starts_at_once_take_it_out_beside_one_another(library: Path, tmp_path: Path) -> None:
    for attempt in range(20):
        cache = tmp_path / str(attempt)
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(prepare, [library] * 8, ["amd64"] * 8, [cache] * 8))
        assert len(set(made)) == 1
        assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@pytest.mark.needs("readelf", "binutils")
def test_readelf_agrees(tmp_path: Path) -> None:
    path = tmp_path / "kernel.elf"
    path.write_bytes(pvh_elf(image(), "test"))
    text = subprocess.run(["readelf", "-hlnW", str(path)], check=True, capture_output=True, text=True)
    assert text.stderr == ""
    assert "EXEC (Executable file)" in text.stdout
    words = [line.split() for line in text.stdout.splitlines()]
    loads = [line for line in words if line[:1] == ["LOAD"]]
    assert loads == [
        [
            "LOAD",
            "0x001000",
            "0x0000000001000000",
            "0x0000000001000000",
            "0x002000",
            "0x002000",
            "RWE",
            "0x1000",
        ]
    ]
    assert "(0x00000012)" in text.stdout
    assert "40 00 00 01 00 00 00 00" in text.stdout


def test_the_kernel_says_where_it_loads() -> None:
    made = pvh_elf(image(0x2000000 + 64, reloc=0x2000000), "test")
    assert struct.unpack_from("<Q", made, 64 + 16)[0] == 0x2000000


@pytest.mark.parametrize("entry", [0, LOAD - 1, LOAD + 8192])
def test_an_entry_outside_is_refused(entry: int) -> None:
    with pytest.raises(Corrupt, match="outside the kernel"):
        pvh_elf(image(entry), "test")


def test_a_kernel_without_pvh_is_refused() -> None:
    with pytest.raises(Corrupt, match="no PVH entry"):
        pvh_elf(bytes(8192), "test")


def test_kernels_are_taken_as_they_are(library: Path) -> None:
    bzimage = bytes(0x202) + b"HdrS" + bytes(100)
    arm = bytes(0x38) + b"ARM\x64" + bytes(100)
    assert extract(bzimage, "amd64", "k") == bzimage
    assert extract(arm, "arm64", "k") == arm
    wrapped = pvh_elf(image(), "test")
    assert extract(wrapped, "amd64", "k") == wrapped
    for data in (bzimage, library.read_bytes()):
        with pytest.raises(Corrupt):
            extract(data, "arm64", "k")


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"text\n", bytes(10000)])
def test_what_is_no_kernel_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=str(path)):
        prepare(path, "amd64", tmp_path / "cache")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere") as caught:
        prepare(tmp_path / "nowhere", "amd64", tmp_path)
    assert "pip install" in (caught.value.hint or "")
    assert find_source(tmp_path / "nowhere", "amd64") == tmp_path / "nowhere"


@given(st.data())
@settings(max_examples=200)
def test_damaged_libraries_are_refused_or_read(data: st.DataObject) -> None:
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 120, 0, 64, 56, 1, 64, 2, 1
    )
    program = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, 600, 600, 4096)
    sections = struct.pack("<IIQQQQIIQQ", 0, 11, 0, 0, 250, 24, 1, 0, 8, 24)
    sections += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 280, 20, 0, 0, 1, 0)
    good = bytearray((header + program + sections).ljust(600, b"\0"))
    good[250:274] = struct.pack("<IBBHQQ", 1, 17, 0, 1, 300, 100)
    good[280:295] = b"\0KERNEL_BUNDLE\0"
    assert Elf(bytes(good), "x").symbol("KERNEL_BUNDLE") == bytes(100)
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, 300))] = data.draw(st.integers(0, 255))
    try:
        Elf(bytes(good[: data.draw(st.integers(0, 600))]), "x").symbol("KERNEL_BUNDLE")
    except Corrupt:
        return
