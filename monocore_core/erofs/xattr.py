"""Inline extended attributes (kernel ``fs/erofs/erofs_fs.h``: ``erofs_xattr_ibody_header``, ``erofs_xattr_entry``)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from monocore_core.errors import LimitExceeded, Unsupported

#: Bytes before the entries: name filter, count of shared attributes, reserved.
HEADER_SIZE = 12
#: Most bytes of all attributes of one inode; ``listxattr`` and the kernel's own limit of 64 KiB a value are near.
MAX_BODY = 192 * 1024
MAX_VALUE = 0xFFFF
MAX_NAME = 255

_ENTRY = struct.Struct("<BBH")
#: (prefix, index); an ACL's name is its prefix.
_PREFIXES = (
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
)


def representable(name: bytes) -> bool:
    """Whether EROFS, and Linux, can hold an attribute of this name (``com.apple.…`` is not one)."""
    return _split(name) is not None


def encode(xattrs: Mapping[bytes, bytes], path: str) -> bytes:
    """The body that follows an inode: header and entries in order of name, a multiple of four bytes; empty for none.

    Raises:
        Unsupported: a name outside the namespaces of Linux; the message names ``path``.
        LimitExceeded: a name, value or all together are too long.
    """
    if not xattrs:
        return b""
    body = bytearray(HEADER_SIZE)
    for name in sorted(xattrs):
        value = xattrs[name]
        parts = _split(name)
        if parts is None:
            raise Unsupported(f"{path}: extended attribute {name[:80]!r} is in no namespace of Linux")
        index, rest = parts
        if len(name) > MAX_NAME or len(value) > MAX_VALUE:
            raise LimitExceeded(
                f"{path}: extended attribute {name[:80]!r} is too long ({len(name)} + {len(value)} bytes)"
            )
        body += _ENTRY.pack(len(rest), index, len(value)) + rest + value
        body += bytes(-len(body) % 4)
        if len(body) > MAX_BODY:
            raise LimitExceeded(f"{path}: extended attributes take more than {MAX_BODY} bytes")
    return bytes(body)


def count(body: bytes) -> int:
    """``i_xattr_icount`` of an encoded body: 0, or one for the header and one for each further four bytes."""
    return 1 + (len(body) - HEADER_SIZE) // 4 if body else 0


def _split(name: bytes) -> tuple[int, bytes] | None:
    for prefix, index in _PREFIXES:
        if name == prefix and not prefix.endswith(b"."):
            return index, b""
        if prefix.endswith(b".") and name.startswith(prefix) and len(name) > len(prefix):
            return index, name[len(prefix) :]
    return None
