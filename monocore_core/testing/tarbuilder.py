"""Tars made header by header, so that a test can say exactly what stands in each field, right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

BLOCK = 512
END = bytes(2 * BLOCK)
Dialect = Literal["ustar", "gnu", "v7"]

_MAGIC: Mapping[str, bytes] = {"ustar": b"ustar\x0000", "gnu": b"ustar  \x00", "v7": bytes(8)}


def octal(value: int, width: int) -> bytes:
    """Digits and a NUL."""
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """GNU's binary number: two's complement, with the first bit set."""
    bits = 8 * width - 1
    return ((value % (1 << bits)) | (1 << bits)).to_bytes(width, "big")


def header(
    name: bytes,
    flag: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    dialect: Dialect = "ustar",
    checksum: int | None = None,
) -> bytes:
    """One header. Numbers may be given as the field's bytes; ``checksum`` None is the right one."""
    block = b"".join(
        (
            _text(name, 100),
            _number(mode, 8),
            _number(uid, 8),
            _number(gid, 8),
            _number(size, 12),
            _number(mtime, 12),
            b" " * 8,
            flag,
            _text(link, 100),
            _MAGIC[dialect],
            bytes(64),
            _number(device[0], 8) if dialect != "v7" else bytes(8),
            _number(device[1], 8) if dialect != "v7" else bytes(8),
            _text(prefix, 155),
            bytes(12),
        )
    )
    return sign(block, checksum)


def sign(block: bytes, checksum: int | None = None) -> bytes:
    """The header with its checksum (or another number) in place."""
    blank = block[:148] + b" " * 8 + block[156:]
    total = sum(blank) if checksum is None else checksum
    return blank[:148] + b"%06o\0 " % total + blank[156:]


def padded(data: bytes) -> bytes:
    """Data filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", flag: bytes = b"0", *, dialect: Dialect = "ustar") -> bytes:
    """A header with its data."""
    return header(name, flag, size=len(data), dialect=dialect) + padded(data)


def pax_records(*records: tuple[bytes, bytes]) -> bytes:
    """The data of a PAX header."""
    return b"".join(_record(key, value) for key, value in records)


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    """A PAX header with its data."""
    return member(b"PaxHeaders/0", pax_records(*records), flag)


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def _text(value: bytes, width: int) -> bytes:
    if len(value) > width:
        raise ValueError(f"{len(value)} bytes do not fit a field of {width}")
    return value.ljust(width, b"\0")


def _number(value: int | bytes, width: int) -> bytes:
    return octal(value, width) if isinstance(value, int) else value.ljust(width, b"\0")
