"""What a waiting guest reads of a program before it is asked for: what the program needs, of whatever the image has there."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import struct
from pathlib import Path

import pytest

from monocore_core.errors import GuestError
from monocore_core.guest.client import Guest
from monocore_core.guest.wire import Kind, put
from monocore_core.model.guest import ProcessSpec
from monocore_core.testing.processes import settled

PAGE = mmap.PAGESIZE
SIZE = 16 * PAGE
HEAD, SEGMENT, ENTRY = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ"), struct.Struct("<qQ")
LOAD, DYNAMIC, INTERP = 1, 2, 3
NEEDED, STRTAB = 1, 5
BASE = 0x400000


def elf(interpreter: Path, *libraries: str) -> bytes:
    """A program for x86_64 that is linked to libraries; there is nothing in it to run."""
    words = os.fsencode(interpreter) + b"\0"
    names = b"\0" + b"".join(name.encode() + b"\0" for name in libraries)
    at = HEAD.size + 3 * SEGMENT.size
    strings, table = at + len(words), at + len(words) + len(names)
    entries = [(NEEDED, names.index(name.encode() + b"\0")) for name in libraries] + [
        (STRTAB, BASE + strings)
    ]
    dynamic = b"".join(ENTRY.pack(*entry) for entry in entries) + bytes(ENTRY.size)
    head = HEAD.pack(b"\x7fELF\2\1\1", 2, 62, 1, BASE, HEAD.size, 0, 0, HEAD.size, SEGMENT.size, 3, 0, 0, 0)
    segments = [
        SEGMENT.pack(LOAD, 5, 0, BASE, BASE, SIZE, SIZE, PAGE),
        SEGMENT.pack(INTERP, 4, at, BASE + at, BASE + at, len(words), len(words), 1),
        SEGMENT.pack(DYNAMIC, 6, table, BASE + table, BASE + table, len(dynamic), len(dynamic), 8),
    ]
    return (head + b"".join(segments) + words + names + dynamic).ljust(SIZE, b"\0")


def resident(path: Path) -> int:
    """Pages of a file that the kernel has in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    pages = (ctypes.c_ubyte * (SIZE // PAGE))()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as mapped:
        held = ctypes.c_char.from_buffer(mapped)
        assert libc.mincore(ctypes.byref(held), ctypes.c_size_t(SIZE), pages) == 0
        del held
    return sum(page & 1 for page in pages)


def forgotten(path: Path, data: bytes) -> Path:
    """A program that the kernel has not in memory."""
    path.write_bytes(data)
    path.chmod(0o755)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path):
        pytest.skip("this file system is memory")
    return path


async def read_of(path: Path) -> None:
    assert await settled(lambda: resident(path), bool, 20.0)


def program(folder: Path, name: str) -> ProcessSpec:
    return ProcessSpec(argv=(name, "--secret"), env=(f"PATH=/nowhere:{folder}",))


async def test_a_program_its_interpreter_and_its_libraries_are_read_and_nothing_is_run(
    guest: Guest, tmp_path: Path
) -> None:
    linker, library, other = (forgotten(tmp_path / name, os.urandom(SIZE)) for name in ("ld.so", "a.so", "b"))
    main = forgotten(tmp_path / "main", elf(linker, "a.so", "missing.so"))
    await guest.warm(program(tmp_path, "main"))
    for path in (main, linker, library):
        await read_of(path)
    assert not resident(other)


async def test_of_a_script_the_program_that_its_first_line_names(guest: Guest, tmp_path: Path) -> None:
    linker = forgotten(tmp_path / "ld.so", os.urandom(SIZE))
    shell = forgotten(tmp_path / "shell", elf(linker))
    forgotten(tmp_path / "script", f"#! {shell} -e\ntouch {tmp_path}/ran\n".encode().ljust(SIZE))
    await guest.warm(program(tmp_path, "script"))
    await read_of(linker)
    assert not (tmp_path / "ran").exists()


async def test_what_is_not_there_is_not_missed_and_what_is_no_program_harms_nobody(
    guest: Guest, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").touch()
    (tmp_path / "itself").write_bytes(elf(tmp_path / "itself", "itself", "../itself", *["x.so"] * 200))
    for name in ("absent", "pipe", "folder", "loop", "empty", "itself"):
        await guest.warm(program(tmp_path, name))
    with pytest.raises(GuestError, match="no command"):
        await guest._call(Kind.REHEARSE, put(3, "/"))  # pyright: ignore[reportPrivateUsage] - no caller sends that


async def test_folders_of_programs_of_any_kind_are_gone_through(guest: Guest, tmp_path: Path) -> None:
    main = forgotten(tmp_path / "main", elf(tmp_path / "ld.so"))
    many, odd = tmp_path / "many", tmp_path / "odd"
    many.mkdir()
    for number in range(3000):
        (many / str(number)).touch()
    odd.mkdir()
    os.mkfifo(odd / "pipe")
    (odd / "loop").symlink_to("loop")
    (odd / "nowhere").symlink_to("/nowhere")
    (odd / "folder").mkdir(mode=0)
    (odd / ("n" * 255)).touch()
    again = tmp_path / "again"
    again.symlink_to(odd)
    places = ("", "relative", "/nowhere", str(main), str(odd), str(again), str(odd / "folder"), str(many))
    for path in (places, places[::-1], [str(odd)] * 100, [str(many / str(number)) for number in range(500)]):
        env = (f"PATH={':'.join((*path, str(tmp_path)))}",)
        await guest.warm(ProcessSpec(argv=("main",), env=env))
    await read_of(main)


async def test_programs_of_any_bytes(guest: Guest, tmp_path: Path) -> None:
    """The child has sanitizers as well; its last words would be in the agent's."""
    seed = random.Random(7)
    whole = elf(tmp_path / "ld.so", "a.so", "b.so")
    (tmp_path / "ld.so").write_bytes(whole)
    for _ in range(60):
        data = bytearray(whole[: seed.choice((len(whole), 40, 64, 200, 300))])
        for place in seed.choices(range(min(len(data), 420)), k=seed.randrange(1, 30)):
            data[place] = seed.choice((0, 1, 0x7F, 0x80, 0xFF))
        data[:4] = b"\x7fELF"
        (tmp_path / "any").write_bytes(data)
        await guest.warm(program(tmp_path, "any"))
