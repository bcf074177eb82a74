"""Wrap a bare x86 kernel image so that QEMU boots it through PVH. Pure.

libkrunfw holds the loadable segments of ``vmlinux`` one after the other, without its ELF headers. QEMU's ``-kernel`` takes
an ELF file with a note of owner ``Xen`` and type 18 (``XEN_ELFNOTE_PHYS32_ENTRY``), whose descriptor is the 32-bit entry
point; that note is still among the image's bytes. See ``include/standard-headers/asm-x86/xen/elfnote.h`` in QEMU and
``arch/x86/platform/pvh/head.S`` in Linux.
"""

from __future__ import annotations

import struct

from monocore_core.errors import Corrupt

_OWNER = b"Xen\0"
_PHYS32_ENTRY = 18
_PHYS32_RELOC = 19
_NOTE = struct.Struct("<III")
#: CONFIG_PHYSICAL_START, where the note that would tell is absent (kernels before 6.12).
_DEFAULT_LOAD = 0x1000000
_PAGE = 4096
_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_NOTE = 1, 4
_RWX, _R = 7, 4


def pvh_elf(image: bytes, name: str) -> bytes:
    """An ELF64 executable with one ``PT_LOAD`` that holds ``image``, and one ``PT_NOTE``.

    Args:
        image: the kernel, as it is to lie in memory.
        name: for errors.

    Raises:
        Corrupt: no PVH entry point in the image, or one outside it.
    """
    text = image
    note = _note(text, _PHYS32_ENTRY, (4, 8))
    if note is None:
        raise Corrupt(f"{name}: the kernel has no PVH entry point", hint="it must be built with CONFIG_PVH")
    entry = int.from_bytes(note, "little")
    reloc = _note(text, _PHYS32_RELOC, (12,))
    load = struct.unpack("<III", reloc)[1] if reloc else _DEFAULT_LOAD
    if not load <= entry < load + len(text):
        raise Corrupt(f"{name}: PVH entry point {entry:#x} outside the kernel")
    return _wrapped(image, load, entry)


def stub_elf() -> bytes:
    """What QEMU takes for a kernel where none is booted, since memory that is restored holds one: a page of zeros."""
    return _wrapped(bytes(_PAGE), _DEFAULT_LOAD, _DEFAULT_LOAD)


def _wrapped(text: bytes, load: int, entry: int) -> bytes:
    notes = _NOTE.pack(len(_OWNER), 8, _PHYS32_ENTRY) + _OWNER + struct.pack("<Q", entry)
    offset = _ELF_HEADER.size + 2 * _PROGRAM.size
    header = _ELF_HEADER.pack(
        b"\x7fELF\x02\x01\x01" + bytes(9), 2, 62, 1, entry, _ELF_HEADER.size, 0, 0, _ELF_HEADER.size,
        _PROGRAM.size, 2, 0, 0, 0,
    )  # fmt: skip
    programs = _PROGRAM.pack(_PT_LOAD, _RWX, _PAGE, load, load, len(text), len(text), _PAGE)
    programs += _PROGRAM.pack(_PT_NOTE, _R, offset, 0, 0, len(notes), len(notes), 4)
    return (header + programs + notes).ljust(_PAGE, b"\0") + text


def _note(text: bytes, kind: int, sizes: tuple[int, ...]) -> bytes | None:
    """Descriptor of the first Xen note of a kind whose length is one of ``sizes``."""
    for size in sizes:
        head = _NOTE.pack(len(_OWNER), size, kind) + _OWNER
        start = text.find(head)
        if start >= 0 and start + len(head) + size <= len(text):
            return text[start + len(head) : start + len(head) + size]
    return None
