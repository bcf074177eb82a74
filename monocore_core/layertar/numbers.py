"""Numbers and checksums of tar headers (POSIX.1 "ustar", GNU tar's base-256)."""

from __future__ import annotations

import re
from zlib import adler32

from monocore_core.errors import Corrupt

_OCTAL = re.compile(rb"[0-7]+\Z")
_DECIMAL = re.compile(rb"[0-9]{1,20}\Z")
_TIME = re.compile(rb"(-?)([0-9]{1,20})?(?:\.([0-9]*))?\Z")
_REMEMBERED = 1 << 15
_SECOND = 1_000_000_000
_TIME_LIMIT = 1 << 63
#: What the checksum field counts for while the checksum is made: eight spaces.
_SPACES = 8 * 0x20


def header_number(field: bytes) -> int:
    """A number field: octal digits between spaces and NULs, or base-256 (two's complement) when its first bit is set.

    Raises:
        Corrupt: anything else.
    """
    if field[0] & 0x80:
        bits = len(field) * 8 - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    if field[-1] == 0 and _OCTAL.match(field, 0, len(field) - 1):
        return int(field[:-1], 8)
    digits = field.lstrip(b" \0").split(b"\0", 1)[0].rstrip(b" ")
    if not digits:
        return 0
    if not _OCTAL.match(digits):
        raise Corrupt(f"the header has {field!r} for a number")
    return int(digits, 8)


class Numbers(dict[bytes, int]):
    """Number fields to their values; those of headers repeat, so that some are remembered."""

    __slots__ = ()

    def __missing__(self, field: bytes) -> int:
        number = header_number(field)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[field] = number
        return number


def decimal(value: bytes, what: str) -> int:
    """A PAX number.

    Raises:
        Corrupt: not one to twenty digits; ``what`` names it.
    """
    if not _DECIMAL.match(value):
        raise Corrupt(f"{what} {value[:40]!r} is not a number")
    return int(value)


def pax_time(value: bytes) -> int:
    """Nanoseconds of a PAX time, which is seconds with any number of decimals; what is finer is cut off.

    Raises:
        Corrupt: another form, or beyond 64 bits of seconds.
    """
    found = _TIME.match(value)
    if not found or not (found[2] or found[3]):
        raise Corrupt(f"mtime {value[:40]!r} is not a time")
    fraction = (found[3] or b"")[:9].ljust(9, b"0")
    nanoseconds = int(found[2] or b"0") * _SECOND + int(fraction)
    return check_time(-nanoseconds if found[1] else nanoseconds)


def check_time(nanoseconds: int) -> int:
    """The time itself.

    Raises:
        Corrupt: its seconds do not fit 64 bits.
    """
    if not -_TIME_LIMIT <= nanoseconds // _SECOND < _TIME_LIMIT:
        raise Corrupt("mtime is beyond 64 bits")
    return nanoseconds


def checksum_matches(block: bytes, stored: int) -> bool:
    """Whether a header's checksum is right: the sum of its bytes, unsigned or (as old tars have it) signed.

    Adler-32's lower half is one more than the sum of the bytes modulo 65521, and far faster than a loop.
    """
    fast = (adler32(block[156:], adler32(block[:148])) & 0xFFFF) - 1 + _SPACES
    if fast == stored:
        return True
    counted = block[:148] + block[156:]
    total = sum(counted) + _SPACES
    return stored in {total, total - 256 * sum(byte > 0x7F for byte in counted)}
