"""The header ``Range`` (RFC 9110, section 14.1.2), as much of it as one answer needs: a single range of bytes. Pure."""

from __future__ import annotations

import re

from attrs import frozen

from monocore_core.errors import InvalidInput

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.ASCII | re.IGNORECASE)


@frozen
class ByteRange:
    """Bytes ``first`` to ``last``, both included; at least one."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.last - self.first + 1


def range_of(header: str, size: int) -> ByteRange | None:
    """The part of ``size`` bytes that a header asks for, cut at the end; None when there is nothing in it (status 416).

    Raises:
        InvalidInput: the header means no single range of bytes.
    """
    found = _RANGE.match(header.strip())
    if found is None or found[1] == found[2] == "":
        raise InvalidInput(
            f"header Range: {header[:80]!r} is not one range of bytes", hint="for example bytes=0-1023"
        )
    if not found[1]:  # the last so many
        length = min(int(found[2]), size)
        return ByteRange(size - length, size - 1) if length else None
    first = int(found[1])
    last = min(int(found[2]) if found[2] else size - 1, size - 1)
    if found[2] and int(found[2]) < first:
        raise InvalidInput(f"header Range: {header[:80]!r} ends before it begins")
    return ByteRange(first, last) if first <= last else None
