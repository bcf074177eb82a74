"""What ``[plugins.layer_erofs]`` may say."""

from __future__ import annotations

from attrs import frozen

MIB = 1 << 20


@frozen
class ErofsOptions:
    """Bounds of one merged root.

    Attributes:
        max_entries: entries of all layers together.
        max_metadata: bytes of the metadata image, which is built in memory.
        max_spill: bytes of file data that may be copied because they do not stand on 512-byte boundaries of a tar.
    """

    max_entries: int = 2_000_000
    max_metadata: int = 512 * MIB
    max_spill: int = 512 * MIB
