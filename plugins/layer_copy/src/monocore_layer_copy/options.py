"""What ``[plugins.layer_copy]`` and ``[plugins.layer_copy_private]`` may say."""

from __future__ import annotations

from attrs import frozen


@frozen
class CopyOptions:
    """Of the shared folder.

    Attributes:
        max_entries: entries of all layers together.
    """

    max_entries: int = 2_000_000


@frozen
class PrivateOptions:
    """Of the folders that sandboxes write into.

    Attributes:
        max_entries: entries of all layers together.
        keep_bases: seconds that the folder which an image's sandboxes are copied from is kept after its last use.
    """

    max_entries: int = 2_000_000
    keep_bases: float = 24 * 3600.0
