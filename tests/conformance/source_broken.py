"""One broken image source for each clause of the contract: it breaks that promise, by a mistake that someone could make."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from attrs import evolve

from monocore_core.errors import Corrupt, MonocoreError, NotFound, Unsupported
from monocore_core.interfaces.image_source import ResolvedImage
from monocore_core.model.oci import Descriptor, Platform
from monocore_core.reference import Reference
from tests.conformance.source_fakes import Source

#: Open for the life of the process, on purpose.
LEAKED: list[int] = []


class OtherBytes(Source):
    """Serves a manifest that it has written anew."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        found = await self.inner.resolve(reference, platform)
        return evolve(found, manifest_bytes=found.manifest_bytes + b"\n")


class Changed(Source):
    """Changes the last byte of a blob."""

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with self.inner.open_blob(image, descriptor, offset) as chunks:
            yield self._changed(chunks)

    async def _changed(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk[:-1] + bytes([chunk[-1] ^ 1])


class FromTheStart(Source):
    """Takes no notice of the offset."""

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        del offset
        async with self.inner.open_blob(image, descriptor) as chunks:
            yield chunks


class NeverTheSame(Source):
    """Says something else at every question."""

    asked = 0

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        self.asked += 1
        found = await self.inner.resolve(reference, platform)
        return evolve(found, platform=Platform("linux", f"asked{self.asked}"))


class AsksOnce(Source):
    """Remembers what a name meant."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.known: dict[str, ResolvedImage] = {}

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        name = f"{reference} {platform}"
        if name not in self.known:
            self.known[name] = await self.inner.resolve(reference, platform)
        return self.known[name]


class AnyPlatform(Source):
    """Gives amd64 to everyone."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        del platform
        return await self.inner.resolve(reference, Platform("linux", "amd64"))


class SaysLittle(Source):
    """Does not say which platforms there are."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        try:
            return await self.inner.resolve(reference, platform)
        except NotFound:
            raise NotFound("not found") from None


class AnotherError(Source):
    """Calls what is absent unsupported."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        try:
            return await self.inner.resolve(reference, platform)
        except NotFound as error:
            raise Unsupported(error.brief) from error


class EmptyBlob(Source):
    """An unknown blob is an empty one."""

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        try:
            async with self.inner.open_blob(image, descriptor, offset) as chunks:
                yield chunks
        except NotFound:
            yield _nothing()


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for chunk in none:
        yield chunk


class TakesItAsItIs(Source):
    """Does not compare a blob's size."""

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        known = (image.manifest.config, *image.manifest.layers)
        right = next((one for one in known if one.digest == descriptor.digest), descriptor)
        async with self.inner.open_blob(image, right, offset) as chunks:
            yield chunks


class OneAtATime(Source):
    """Two that read at once disturb each other."""

    reading = 0

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        if self.reading:
            raise Corrupt("somebody else is reading")
        self.reading += 1
        try:
            await asyncio.sleep(0)
            async with self.inner.open_blob(image, descriptor, offset) as chunks:
                yield chunks
        finally:
            self.reading -= 1


class KeepsOpen(Source):
    """Forgets a descriptor with every stream that is left early."""

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        LEAKED.append(os.open("/dev/null", os.O_RDONLY))
        async with self.inner.open_blob(image, descriptor, offset) as chunks:
            yield chunks


class NeverRecovers(Source):
    """Is of no use after a cancellation."""

    broken = False

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        if self.broken:
            raise Corrupt("broken before")
        try:
            return await self.inner.resolve(reference, platform)
        except asyncio.CancelledError:
            self.broken = True
            raise


class WritesThings(Source):
    """Keeps a note of every question in its state folder."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        found = await self.inner.resolve(reference, platform)
        (self.host.state / f"note-{found.digest.hex}").write_text(str(reference))
        return found


class RawErrors(Source):
    """Lets other errors through."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        try:
            return await self.inner.resolve(reference, platform)
        except MonocoreError as error:
            raise FileNotFoundError(error.brief) from error


BROKEN: dict[str, type[Source]] = {
    "test_an_image_is_resolved_to_its_documents": OtherBytes,
    "test_blobs_are_exact": Changed,
    "test_a_blob_goes_on_from_an_offset": FromTheStart,
    "test_a_repeat_gives_the_same": NeverTheSame,
    "test_a_repeat_asks_again": AsksOnce,
    "test_the_platforms_image_is_chosen": AnyPlatform,
    "test_a_platform_that_is_not_there_is_not_found": SaysLittle,
    "test_an_unknown_image_is_not_found": AnotherError,
    "test_an_unknown_blob_is_not_found": EmptyBlob,
    "test_a_blob_of_another_size_is_corrupt": TakesItAsItIs,
    "test_many_at_once": OneAtATime,
    "test_leaving_a_stream_early_closes_it": KeepsOpen,
    "test_cancellation_leaves_the_source_usable": NeverRecovers,
    "test_closing_leaves_nothing": WritesThings,
    "test_what_goes_wrong_is_an_error_of_ours": RawErrors,
}
