"""An image source in memory: images of any bytes, right or wrong, with every download counted and every chunk observable.

It implements :class:`~monocore_core.interfaces.image_source.ImageSource` to the letter, but for what a test breaks on purpose.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from attrs import define, evolve, field, frozen

from monocore_core.errors import NotFound
from monocore_core.interfaces.image_source import ResolvedImage
from monocore_core.model.digest import Digest
from monocore_core.model.oci import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)
from monocore_core.reference import Reference

#: Awaited with a blob's digest and the offset before each of its chunks.
ChunkHook = Callable[[Digest, int], Awaitable[None]]


async def no_hook(digest: Digest, offset: int) -> None:
    """Let the chunk through."""
    del digest, offset


@frozen
class MemoryImage:
    """An image's documents and blobs.

    Attributes:
        manifest: parsed.
        manifest_bytes: serialised.
        blobs: configuration and layers by digest.
        diff_ids: that the configuration names.
    """

    manifest: Manifest
    manifest_bytes: bytes
    blobs: dict[Digest, bytes]
    diff_ids: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        """Of the manifest."""
        return Digest.of(self.manifest_bytes)


def squeeze(data: bytes) -> bytes:
    """gzip, the same bytes every time."""
    return gzip.compress(data, 1, mtime=0)


def memory_image(
    layers: Sequence[bytes],
    *,
    compress: Callable[[bytes], bytes] = squeeze,
    media_type: str = OCI_LAYER_GZIP,
    platform: Platform | None = None,
    diff_ids: Sequence[Digest] | None = None,
    label: str = "",
) -> MemoryImage:
    """An image of uncompressed ``layers``; ``diff_ids`` overrides what the configuration says of them."""
    wanted = platform or Platform("linux", "amd64")
    named = tuple(diff_ids) if diff_ids is not None else tuple(map(Digest.of, layers))
    config: dict[str, object] = {
        "os": wanted.os,
        "architecture": wanted.architecture,
        "config": {"Labels": {"label": label}},
        "rootfs": {"type": "layers", "diff_ids": [str(each) for each in named]},
    }
    if wanted.variant:
        config["variant"] = wanted.variant
    config_bytes = json.dumps(config).encode()
    blobs = {Digest.of(config_bytes): config_bytes}
    descriptors: list[Descriptor] = []
    for layer in layers:
        blob = compress(layer)
        descriptors.append(Descriptor(media_type, Digest.of(blob), len(blob)))
        blobs[Digest.of(blob)] = blob
    return documents(
        Descriptor(OCI_CONFIG, Digest.of(config_bytes), len(config_bytes)), descriptors, blobs, named
    )


def documents(
    config: Descriptor, layers: Sequence[Descriptor], blobs: dict[Digest, bytes], diff_ids: tuple[Digest, ...]
) -> MemoryImage:
    """An image whose manifest has these descriptors, whatever the blobs are."""
    manifest = Manifest(OCI_MANIFEST, config, tuple(layers))
    written = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _written(config),
        "layers": [_written(layer) for layer in layers],
    }
    return MemoryImage(manifest, json.dumps(written).encode(), blobs, diff_ids)


def _written(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }


@define(eq=False)
class MemorySource:
    """Serves images by name.

    Attributes:
        hook: awaited before every chunk; may raise.
        chunk: bytes of one.
        downloads: how often each blob was opened.
        index_platform: that :meth:`resolve` reports, as if there were an index.
    """

    hook: ChunkHook = no_hook
    chunk: int = 64 * 1024
    index_platform: Platform | None = None
    downloads: Counter[Digest] = field(factory=Counter[Digest], init=False)
    _images: dict[str, MemoryImage] = field(factory=dict[str, MemoryImage], init=False)

    def add(self, reference: Reference, image: MemoryImage) -> None:
        """Let a name mean an image."""
        self._images[str(reference)] = image

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        """See :class:`~monocore_core.interfaces.image_source.ImageSource`; every image fits every platform."""
        del platform
        image = self._images.get(str(reference))
        if image is None:
            raise NotFound(f"{reference} is not in memory")
        found = ResolvedImage(reference, image.digest, image.manifest, image.manifest_bytes)
        return evolve(found, platform=self.index_platform)

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """See :class:`~monocore_core.interfaces.image_source.ImageSource`."""
        blob = self._images[str(image.reference)].blobs.get(descriptor.digest)
        if blob is None:
            raise NotFound(f"blob {descriptor.digest} is not in memory")
        self.downloads[descriptor.digest] += 1
        yield self._chunks(descriptor.digest, blob, offset)

    async def _chunks(self, digest: Digest, blob: bytes, offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(blob), self.chunk):
            await self.hook(digest, start)
            yield blob[start : start + self.chunk]
