"""A stranger's image source that keeps the contract: OCI layouts in folders, read by the archive source, behind functions to break."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from monocore_oci_archive import PROVIDER
from monocore_oci_archive.options import ArchiveOptions

from monocore_core.interfaces.image_source import ImageSource, ResolvedImage
from monocore_core.interfaces.provider import Host, ImageSourceProvider, NoOptions
from monocore_core.model.oci import Descriptor, Platform
from monocore_core.reference import Reference


class Source:
    """Passes everything on."""

    def __init__(self, inner: ImageSource, host: Host) -> None:
        self.inner = inner
        self.host = host

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        return await self.inner.resolve(reference, platform)

    def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.inner.open_blob(image, descriptor, offset)


@asynccontextmanager
async def _create(fake: type[Source], host: Host, options: NoOptions) -> AsyncGenerator[Source]:
    del options
    async with PROVIDER.create(host, ArchiveOptions()) as inner:
        yield fake(inner, host)


def provider(fake: type[Source]) -> ImageSourceProvider[NoOptions]:
    """A provider of a fake."""
    create: Callable[[Host, NoOptions], AbstractAsyncContextManager[ImageSource]] = partial(_create, fake)
    return ImageSourceProvider(
        name="test_source",
        api=1,
        summary="a stranger's",
        rank=1,
        capabilities=PROVIDER.capabilities,
        options=NoOptions,
        create=create,
    )
