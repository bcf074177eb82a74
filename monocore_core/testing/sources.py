"""For tests of image sources: open one, remember what it emits, read whole blobs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Generic, TypeVar

from attrs import field, frozen

from monocore_core.interfaces.image_source import ImageSource, ResolvedImage
from monocore_core.interfaces.provider import Host, ImageSourceProvider
from monocore_core.model.events import Event
from monocore_core.model.oci import Descriptor, Platform
from monocore_core.reference import parse_reference

OptionsT = TypeVar("OptionsT")


@frozen
class SourceOpener(Generic[OptionsT]):
    """Opens sources of one provider.

    Attributes:
        provider: whose.
        folder: given to the source as its places.
        options: unless others are given.
        events: everything that the sources emitted.
    """

    provider: ImageSourceProvider[OptionsT]
    folder: Path
    options: OptionsT
    events: list[Event] = field(factory=list[Event])

    def __call__(self, options: OptionsT | None = None) -> AbstractAsyncContextManager[ImageSource]:
        """A source, to be entered."""
        host = Host(self.folder, self.folder, self.events.append)
        return self.provider.create(host, self.options if options is None else options)


async def resolved(source: ImageSource, reference: str, platform: str = "linux/amd64") -> ResolvedImage:
    """Resolve what a person would write."""
    return await source.resolve(parse_reference(reference), Platform.parse(platform))


async def read_blob(
    source: ImageSource, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
) -> bytes:
    """All of a blob in memory, from an offset on."""
    async with source.open_blob(image, descriptor, offset) as chunks:
        return b"".join([chunk async for chunk in chunks])
