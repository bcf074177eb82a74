"""What an image may cost at most, since a registry may be hostile."""

from __future__ import annotations

from attrs import frozen

from monocore_core.errors import LimitExceeded

GIB = 1024**3


@frozen
class Limits:
    """Bounds of one pull.

    Attributes:
        layer: uncompressed bytes of one layer.
        image: uncompressed bytes of all layers of an image that are not in the store yet.
        ratio: how many times larger than its compressed form a layer may be, once it is larger than ``ratio_from``.
        ratio_from: bytes below which every ratio is fine (a file of zeros compresses a thousandfold).
        layers: number of layers of an image.
        parallel: layers that are transferred at once.
        patience: seconds to wait for another process that does the same work.
    """

    layer: int = 64 * GIB
    image: int = 256 * GIB
    ratio: int = 250
    ratio_from: int = 4 * GIB
    layers: int = 512
    parallel: int = 3
    patience: float = 3600.0

    def check_layer(self, size: int, compressed: int) -> None:
        """Refuse an uncompressed ``size`` that bytes that were ``compressed`` may not have.

        Raises:
            LimitExceeded: with the bound that it exceeds.
        """
        if size > self.layer:
            raise LimitExceeded(f"it is larger than {self.layer} bytes uncompressed")
        if size > self.ratio_from and size > compressed * self.ratio:
            raise LimitExceeded(
                f"it is more than {self.ratio} times larger uncompressed ({size} bytes and more from {compressed})"
            )


DEFAULT_LIMITS = Limits()
