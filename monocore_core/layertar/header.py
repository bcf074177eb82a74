"""The fields of one 512-byte header, and what is known of its type."""

from __future__ import annotations

import struct
from collections.abc import Callable

from monocore_core.errors import Corrupt, Unsupported
from monocore_core.layertar.events import EntryKind
from monocore_core.layertar.paths import shown

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_USTAR = b"ustar\0"
#: The end of a header by star, whose prefix is shorter (it keeps times behind it).
_STAR = b"tar\0"
_STAR_PREFIX = 131

Fields = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]

#: By type flag. What is not here describes the entry after it, or is refused.
KINDS = {
    b"\0": EntryKind.FILE,
    b"0": EntryKind.FILE,
    b"1": EntryKind.HARDLINK,
    b"2": EntryKind.SYMLINK,
    b"3": EntryKind.CHARACTER,
    b"4": EntryKind.BLOCK,
    b"5": EntryKind.DIRECTORY,
    b"6": EntryKind.FIFO,
    b"7": EntryKind.FILE,
    b"S": EntryKind.FILE,
}
_KNOWN = {
    b"D": "a GNU incremental dump's folder",
    b"M": "the continuation of a file from another volume",
    b"N": "an old GNU list of names",
    b"V": "a volume's label",
    b"A": "a Solaris access control list",
}


#: name, mode, uid, gid, size, mtime, checksum, type flag, link, magic, major, minor, prefix; each as it stands.
split: Callable[[bytes], Fields] = _FIELDS.unpack  # pyright: ignore[reportAssignmentType]


def until_nul(field: bytes) -> bytes:
    """A text field without what follows its first NUL."""
    return field.split(b"\0", 1)[0]


def full_name(block: bytes, fields: Fields) -> bytes:
    """The path of a header, with the prefix that POSIX ustar headers have."""
    name = until_nul(fields[0])
    prefix = fields[12]
    if prefix[0] and fields[9].startswith(_USTAR):
        if block.endswith(_STAR):
            prefix = prefix[:_STAR_PREFIX]
        return until_nul(prefix) + b"/" + name
    return name


def refuse(flag: bytes, fields: Fields) -> Corrupt | Unsupported:
    """Why an entry of this type is not taken."""
    name = shown(until_nul(fields[0]))
    if flag in _KNOWN:
        return Unsupported(
            f"{name} is {_KNOWN[flag]} (tar type {flag.decode()!r}), which has no place in a layer"
        )
    return Unsupported(f"{name} has the unknown tar type {flag!r}")
