"""A sandbox as it was at one moment, kept on disk."""

from __future__ import annotations

from attrs import frozen

from monocore_core.model.image import Image
from monocore_core.model.record import Placement


@frozen
class Checkpoint:
    """What is written down beside the memory and the disk of a captured sandbox.

    Attributes:
        name: unique among those of its sandbox.
        image: of which the sandbox was made then.
        placement: with which backends it ran.
        label: by which its guest knows its command.
        created: seconds since the epoch.
        size: bytes that memory and disk take.
    """

    name: str
    image: Image
    placement: Placement
    label: str
    created: float
    size: int = 0
