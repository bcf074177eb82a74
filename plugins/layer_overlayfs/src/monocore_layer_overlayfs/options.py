"""What ``[plugins.layer_overlayfs]`` may say."""

from __future__ import annotations

from attrs import frozen


@frozen
class OverlayOptions:
    """Bounds of one root.

    Attributes:
        max_entries: entries of all layers together.
    """

    max_entries: int = 2_000_000
