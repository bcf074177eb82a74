"""Just enough of ELF64 (little-endian): the bytes behind a dynamic symbol, and the machine. Pure, bounded.

The kernel is taken out of its library by reading, not by loading: nothing of the library runs, and a library for another
architecture can be read, too. Layout: System V gABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from monocore_core.errors import Corrupt

MAGIC = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_DYNSYM = 11
_PT_LOAD = 1
_MAX_SECTIONS = 512
_MAX_SYMBOLS = 4096
_MAX_SEGMENTS = 64


class ElfMachine(IntEnum):
    """``e_machine`` of the architectures that guests can have."""

    X86_64 = 62
    AARCH64 = 183


class ElfType(IntEnum):
    """``e_type`` of what is looked at here."""

    EXECUTABLE = 2
    SHARED = 3


class Elf:
    """An ELF64 file in memory.

    Args:
        data: the whole file.
        name: for errors.

    Raises:
        Corrupt: not a little-endian ELF64 file.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        if len(data) < 64 or data[:6] != MAGIC:
            raise Corrupt(f"{name}: not a 64-bit ELF file")
        fields = _HEADER.unpack_from(data)
        self.type, self.machine = fields[0], fields[1]
        self._program_offset, self._section_offset = fields[4], fields[5]
        self._programs, self._sections = fields[9], fields[11]

    def symbol(self, name: str) -> bytes | None:
        """The bytes that a dynamic symbol covers in the file, or None when there is no such symbol."""
        for kind, link, offset, size in self._section_table():
            if kind != _DYNSYM:
                continue
            strings = self._section(link)
            wanted = name.encode() + b"\0"
            for start in range(0, min(size, _MAX_SYMBOLS * _SYMBOL.size), _SYMBOL.size):
                text, _, _, section, address, length = self._unpack(_SYMBOL, offset + start)
                if section and strings[text : text + len(wanted)] == wanted:
                    return self._at(address, length)
        return None

    def _section_table(self) -> Iterator[tuple[int, int, int, int]]:
        if self._sections > _MAX_SECTIONS:
            raise Corrupt(f"{self._name}: {self._sections} sections")
        for index in range(self._sections):
            fields = self._unpack(_SECTION, self._section_offset + index * _SECTION.size)
            yield fields[1], fields[6], fields[4], fields[5]

    def _section(self, index: int) -> bytes:
        if index >= self._sections:
            raise Corrupt(f"{self._name}: no section {index}")
        fields = self._unpack(_SECTION, self._section_offset + index * _SECTION.size)
        return self._slice(fields[4], fields[5])

    def _at(self, address: int, length: int) -> bytes:
        for index in range(min(self._programs, _MAX_SEGMENTS)):
            kind, _, offset, start, _, size, _, _ = self._unpack(
                _PROGRAM, self._program_offset + index * _PROGRAM.size
            )
            if kind == _PT_LOAD and start <= address and address + length <= start + size:
                return self._slice(offset + address - start, length)
        raise Corrupt(f"{self._name}: a symbol points outside the file")

    def _unpack(self, layout: struct.Struct, offset: int) -> tuple[int, ...]:
        return layout.unpack(self._slice(offset, layout.size))

    def _slice(self, offset: int, length: int) -> bytes:
        if offset + length > len(self._data):
            raise Corrupt(f"{self._name}: truncated")
        return self._data[offset : offset + length]
