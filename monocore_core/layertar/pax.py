"""PAX extended headers (POSIX.1-2008, "pax Extended Header"), with the vendors' records that layers use."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from attrs import frozen

from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.layertar.limits import Limits
from monocore_core.layertar.numbers import decimal, pax_time

NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})
#: Digits of a record's length: more than any header that is accepted needs.
_LENGTH_DIGITS = 9
_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_SPARSE = b"GNU.sparse."
_PAIR = {b"GNU.sparse.offset": b"GNU.sparse.numbytes", b"GNU.sparse.numbytes": b"GNU.sparse.offset"}


@frozen
class Extended:
    """What stands before an entry's header and takes the place of its fields; None leaves a field as it is.

    Attributes:
        path: not cleaned.
        link: target.
        size: bytes of data in the tar.
        uid: owner.
        gid: group.
        mtime_ns: nanoseconds since the epoch.
        xattrs: by full name.
        sparse: the records of GNU's sparse files, without their prefix.
        pieces: (offset, length) of GNU's sparse format 0.0.
    """

    path: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] = NO_XATTRS
    sparse: Mapping[bytes, bytes] = NO_XATTRS
    pieces: tuple[tuple[int, int], ...] = ()


PLAIN = Extended()


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of every record of a header's data, in order.

    Raises:
        Corrupt: a record is malformed.
    """
    at, end = 0, len(data)
    while at < end:
        space = data.find(b" ", at, at + _LENGTH_DIGITS + 1)
        digits = data[at : max(space, at)]
        if not digits.isdigit():
            raise Corrupt("a PAX record does not begin with its length")
        stop = at + int(digits)
        equals = data.find(b"=", space, stop)
        if stop > end or equals <= space + 1 or data[stop - 1] != 0x0A:
            raise Corrupt("a PAX record is malformed")
        yield data[space + 1 : equals], data[equals + 1 : stop - 1]
        at = stop


def merge(data: bytes, into: dict[bytes, bytes]) -> tuple[tuple[int, int], ...]:
    """Put a header's records over those that hold so far; an empty value takes a record away.

    Returns:
        What GNU's sparse format 0.0 says by repeating two keys.

    Raises:
        Corrupt: a record is malformed.
    """
    pieces: list[tuple[int, int]] = []
    pending: int | None = None
    for key, value in records(data):
        if key in _PAIR:
            number = decimal(value, key.decode())
            if (pending is None) != (key == b"GNU.sparse.offset"):
                raise Corrupt("the PAX records of a sparse file are out of order")
            if pending is not None:
                pieces.append((pending, number))
            pending = number if pending is None else None
        elif value:
            into[key] = value
        else:
            into.pop(key, None)
    if pending is not None:
        raise Corrupt("the PAX records of a sparse file are incomplete")
    return tuple(pieces)


def interpret(found: Mapping[bytes, bytes], pieces: tuple[tuple[int, int], ...], limits: Limits) -> Extended:
    """What the records say of an entry.

    Raises:
        Corrupt: a value has the wrong form.
        LimitExceeded: more extended attributes than are allowed.
    """
    mtime = found.get(b"mtime")
    vendor = [key for key in found if key.startswith((_SCHILY, _LIBARCHIVE, _SPARSE))]
    return Extended(
        path=_text(found, b"path"),
        link=_text(found, b"linkpath"),
        size=_count(found, b"size"),
        uid=_count(found, b"uid"),
        gid=_count(found, b"gid"),
        mtime_ns=None if mtime is None else pax_time(mtime),
        xattrs=_xattrs(found, vendor, limits) if vendor else NO_XATTRS,
        sparse=_sparse(found, vendor) if vendor else NO_XATTRS,
        pieces=pieces,
    )


def _count(found: Mapping[bytes, bytes], key: bytes) -> int | None:
    value = found.get(key)
    return None if value is None else decimal(value, key.decode())


def _sparse(found: Mapping[bytes, bytes], keys: list[bytes]) -> Mapping[bytes, bytes]:
    return {key[len(_SPARSE) :]: found[key] for key in keys if key.startswith(_SPARSE)}


def _text(found: Mapping[bytes, bytes], key: bytes) -> bytes | None:
    value = found.get(key)
    if value is not None and b"\0" in value:
        raise Corrupt(f"the PAX record {key.decode()} has a NUL in it")
    return value


def _xattrs(found: Mapping[bytes, bytes], keys: list[bytes], limits: Limits) -> Mapping[bytes, bytes]:
    """Extended attributes; where star's and libarchive's records name the same one, star's counts, being verbatim."""
    attributes: dict[bytes, bytes] = {}
    for key in keys:
        if key.startswith(_LIBARCHIVE):
            attributes[_unquoted(key[len(_LIBARCHIVE) :])] = _base64(found[key])
    for key in keys:
        if key.startswith(_SCHILY):
            attributes[key[len(_SCHILY) :]] = found[key]
    if len(attributes) > limits.xattrs:
        raise LimitExceeded(f"it has {len(attributes)} extended attributes, more than {limits.xattrs}")
    total = sum(len(name) + len(value) for name, value in attributes.items())
    if total > limits.xattr_bytes:
        raise LimitExceeded(f"its extended attributes have {total} bytes, more than {limits.xattr_bytes}")
    if any(not name or b"\0" in name for name in attributes):
        raise Corrupt("an extended attribute has no name, or a NUL in its name")
    return MappingProxyType(attributes) if attributes else NO_XATTRS


def _unquoted(name: bytes) -> bytes:
    """Percent-decoded."""
    head, *rest = name.split(b"%")
    parts = [head]
    for part in rest:
        try:
            parts.append(binascii.unhexlify(part[:2]) + part[2:])
        except binascii.Error as error:
            raise Corrupt(f"the attribute name {name[:80]!r} is not percent-encoded") from error
    return b"".join(parts)


def _base64(value: bytes) -> bytes:
    """Decoded; libarchive leaves the padding out."""
    bare = value.rstrip(b"=\n")
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error as error:
        raise Corrupt("an extended attribute is not valid base64") from error
