"""An image as the store holds it: everything on disk, every digest checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attrs import frozen

from monocore_core.model.digest import Digest
from monocore_core.model.oci import ImageConfig


@frozen
class Layer:
    """One uncompressed layer tar in the store.

    Attributes:
        diff_id: digest of the tar; its identity.
        path: the file, immutable once it is visible.
        size: bytes of the tar.
    """

    diff_id: Digest
    path: Path
    size: int


@frozen
class Image:
    """A complete image.

    Attributes:
        references: the canonical names that point here, possibly none.
        digest: of the platform's manifest; the image's identity.
        config: parsed configuration.
        layers: lowest first, one per diff ID.
        pulled: seconds since the epoch of the last pull.
    """

    references: tuple[str, ...]
    digest: Digest
    config: ImageConfig
    layers: tuple[Layer, ...]
    pulled: float

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    @property
    def chain_id(self) -> Digest:
        """Identity of the merged root: the OCI ChainID of the layers (image-spec config.md, "Layer ChainID")."""
        return chain_id(tuple(layer.diff_id for layer in self.layers))


def chain_id(diff_ids: tuple[Digest, ...]) -> Digest:
    """OCI ChainID of an ordered stack of layers; for no layers, the digest of nothing."""
    if not diff_ids:
        return Digest("sha256", hashlib.sha256(b"").hexdigest())
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = Digest.of(f"{chain} {diff_id}".encode())
    return chain
