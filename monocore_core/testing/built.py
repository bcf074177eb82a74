"""An image source that serves images which were just built, from memory or their files, without a registry."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from attrs import frozen

from monocore_core.errors import NotFound
from monocore_core.interfaces.image_source import ResolvedImage
from monocore_core.model.oci import Descriptor, Manifest, Platform
from monocore_core.ocidoc import parse_manifest
from monocore_core.reference import Reference
from monocore_core.testing.images import BuiltImage
from monocore_core.testing.packing import Blob

_CHUNK = 1024 * 1024


@frozen
class BuiltSource:
    """See :class:`~monocore_core.interfaces.image_source.ImageSource`. Whatever is asked for is ``image``."""

    image: BuiltImage

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        """See the protocol."""
        manifest = parse_manifest(self.image.manifest, self.image.media_type)
        if not isinstance(manifest, Manifest) or self.image.platform != platform:
            raise NotFound(f"{reference} was not built for {platform}")
        return ResolvedImage(reference, self.image.digest, manifest, self.image.manifest)

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """See the protocol."""
        blob = self.image.blobs.get(descriptor.digest)
        if blob is None:
            raise NotFound(f"{image.reference} has no blob {descriptor.digest}")
        yield _chunks(blob, offset)


async def _chunks(blob: Blob, offset: int) -> AsyncIterator[bytes]:
    with blob.open() as stream:
        stream.seek(offset)
        while chunk := stream.read(_CHUNK):
            yield chunk
