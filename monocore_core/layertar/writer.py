"""Headers of tars, for what we write ourselves: ustar, with a PAX header before it where a field is too small.

The same entry gives the same bytes, and :func:`~monocore_core.layertar.reader.read_layer` reads the same entry back.
"""

from __future__ import annotations

from collections.abc import Iterator

from monocore_core.layertar.events import Entry, EntryKind
from monocore_core.layertar.window import BLOCK

#: What ends a tar.
END = bytes(2 * BLOCK)
_SECOND = 1_000_000_000
_NAME, _SMALL, _LARGE = 100, 8, 12
_FLAGS = {
    EntryKind.FILE: b"0",
    EntryKind.HARDLINK: b"1",
    EntryKind.SYMLINK: b"2",
    EntryKind.CHARACTER: b"3",
    EntryKind.BLOCK: b"4",
    EntryKind.DIRECTORY: b"5",
    EntryKind.FIFO: b"6",
}
_PAX_NAME = b"PaxHeaders/entry"


def entry_header(entry: Entry) -> bytes:
    """What stands before an entry's data, which is to follow with :func:`padding` behind it. ``position`` does not count.

    Args:
        entry: not sparse; the root directory has the path ``b""``.
    """
    name = entry.path
    if entry.kind is EntryKind.DIRECTORY:
        name = name + b"/" if name else b"./"
    records = b"".join(_record(key, value) for key, value in _extended(entry, name))
    block = _block(entry, name, _FLAGS[entry.kind])
    if not records:
        return block
    described = Entry(_PAX_NAME, EntryKind.FILE, 0o644, size=len(records))
    return b"".join((_block(described, _PAX_NAME, b"x"), records, padding(len(records)), block))


def padding(size: int) -> bytes:
    """What follows ``size`` bytes of data."""
    return bytes(-size % BLOCK)


def _extended(entry: Entry, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Records for what the header has no room for."""
    seconds, fraction = divmod(entry.mtime_ns, _SECOND)
    if len(name) > _NAME:
        yield b"path", name
    if len(entry.link) > _NAME:
        yield b"linkpath", entry.link
    for key, value, width in (
        (b"size", entry.size, _LARGE),
        (b"uid", entry.uid, _SMALL),
        (b"gid", entry.gid, _SMALL),
    ):
        if not _fits(value, width):
            yield key, b"%d" % value
    if fraction or not _fits(seconds, _LARGE):
        yield b"mtime", _decimal(entry.mtime_ns)
    for key in sorted(entry.xattrs):
        yield b"SCHILY.xattr." + key, entry.xattrs[key]


def _block(entry: Entry, name: bytes, flag: bytes) -> bytes:
    block = b"".join(
        (
            name[:_NAME].ljust(_NAME, b"\0"),
            _octal(entry.mode & 0o7777, _SMALL),
            _octal(entry.uid, _SMALL),
            _octal(entry.gid, _SMALL),
            _octal(entry.size, _LARGE),
            _octal(entry.mtime_ns // _SECOND, _LARGE),
            b" " * 8,
            flag,
            entry.link[:_NAME].ljust(_NAME, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _octal(entry.device[0], _SMALL),
            _octal(entry.device[1], _SMALL),
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _fits(value: int, width: int) -> bool:
    return 0 <= value < 1 << 3 * (width - 1)


def _octal(value: int, width: int) -> bytes:
    """Digits and a NUL; zero for what a record says instead."""
    return b"%0*o\0" % (width - 1, value if _fits(value, width) else 0)


def _decimal(nanoseconds: int) -> bytes:
    """Seconds with their decimals."""
    whole, fraction = divmod(abs(nanoseconds), _SECOND)
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{'-' if nanoseconds < 0 else ''}{whole}{digits}".encode()


def _record(key: bytes, value: bytes) -> bytes:
    """Length, key and value; the length counts itself."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while length != len(body) + len(b"%d" % length):
        length = len(body) + len(b"%d" % length)
    return b"%d" % length + body
