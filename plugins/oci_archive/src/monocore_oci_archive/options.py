"""What ``[plugins.oci_archive]`` may say."""

from __future__ import annotations

from attrs import Attribute, field, frozen

_MIB, _GIB, _TIB = 1024**2, 1024**3, 1024**4


def _size(_: object, attribute: Attribute[int], value: int) -> None:
    if not 0 <= value <= 64 * _TIB:
        raise ValueError(f"{attribute.name} is {value}, not between 0 and {64 * _TIB}")


@frozen
class ArchiveOptions:
    """How much an archive may cost.

    Attributes:
        max_archive: bytes that a compressed archive, one from a pipe, or a packed folder may have uncompressed; more is refused.
        reserve: bytes of the file system that holds the store which unpacking leaves free.
        max_files: files that a packed folder may have.
    """

    max_archive: int = field(default=64 * _GIB, validator=_size)
    reserve: int = field(default=512 * _MIB, validator=_size)
    max_files: int = field(default=2_000_000, validator=_size)
