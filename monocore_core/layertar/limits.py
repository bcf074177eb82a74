"""What one layer's tar may cost at most, since whoever made it may be hostile."""

from __future__ import annotations

from attrs import frozen

MIB = 1024 * 1024


@frozen
class Limits:
    """Bounds of one layer.

    Attributes:
        entries: events of one layer.
        path: bytes of a cleaned path, and of a symlink's target (Linux's ``PATH_MAX``).
        component: bytes of one part of a path (Linux's ``NAME_MAX``).
        depth: parts of a path. Real images stay in the tens; it is well below Python's recursion limit.
        extended: bytes of one PAX header, GNU long name or sparse map.
        metadata: bytes of all of those together, which bounds time and memory.
        chained: headers that may stand before the one entry that they describe.
        xattrs: attributes of one entry.
        xattr_bytes: names and values of one entry's attributes together.
        segments: of all sparse files together.
    """

    entries: int = 2_000_000
    path: int = 4096
    component: int = 255
    depth: int = 256
    extended: int = MIB
    metadata: int = 256 * MIB
    chained: int = 16
    xattrs: int = 128
    xattr_bytes: int = 64 * 1024
    segments: int = 1_000_000


DEFAULT_LIMITS = Limits()
