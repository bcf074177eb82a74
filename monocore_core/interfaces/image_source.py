"""Where images come from: a registry, an archive, a folder.

A source *resolves* a reference for a platform to an image's documents, then streams blobs. It verifies what it alone can
(the manifest against the digest by which it was asked for) and leaves blob digests, decompression and storage to the
store. It keeps no state between calls but connections, tokens and open files, and writes nothing to disk but in its cache
(``Host.cache``): what it unpacked, until it is closed, and what it may look up the next time.

Lifecycle: created by its provider, used from one event loop by many tasks at once, closed by its context manager.

Worked example::

    async with provider.create(host, options) as source:
        found = await source.resolve(parse_reference("alpine:3.20"), Platform("linux", "amd64"))
        async with source.open_blob(found, found.manifest.layers[0]) as chunks:
            async for chunk in chunks:
                ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from attrs import frozen

from monocore_core.model.digest import Digest
from monocore_core.model.oci import Descriptor, Manifest, Platform
from monocore_core.reference import Reference

#: Largest manifest, index or configuration that is accepted, bytes (the distribution spec's own advice).
MAX_DOCUMENT = 4 * 1024 * 1024


@frozen
class ResolvedImage:
    """An image's documents, as a source found them.

    Attributes:
        reference: what was asked for.
        digest: of ``manifest_bytes``.
        manifest: parsed.
        manifest_bytes: exactly as served; hashes to ``digest``.
        platform: that the index gave for it, or None when there was no index.
    """

    reference: Reference
    digest: Digest
    manifest: Manifest
    manifest_bytes: bytes
    platform: Platform | None = None


class ImageSource(Protocol):
    """A place that images come from. Every method may be called concurrently and again at any time."""

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        """Find the image for a platform.

        Repeat: asks again (a tag may have moved). Cancellation: leaves nothing behind.

        Raises:
            NotFound: no such repository, tag or digest, or no manifest for ``platform`` (the brief lists which there are).
            Unauthorized: credentials are missing or refused.
            Unreachable: no usable answer after every retry.
            Corrupt: the documents contradict their digests or are malformed.
            Unsupported: a media type that we do not take, named.
            LimitExceeded: a document larger than ``MAX_DOCUMENT``.
        """
        ...

    def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a blob of ``image`` from byte ``offset`` on, exactly as stored (compressed).

        The stream mends broken connections by itself (it goes on where it stopped) and ends after ``descriptor.size -
        offset`` bytes; a source that has fewer or more raises. Chunks are non-empty and at most 4 MiB. Leaving the
        context early closes the connection.

        Raises:
            NotFound, Unauthorized, Unreachable: as for :meth:`resolve`, on entering or while iterating.
            Corrupt: the source has another number of bytes than the descriptor says.
        """
        ...


@frozen
class Held:
    """One image of a place that may hold several.

    Attributes:
        reference: by which :meth:`ImageSource.resolve` finds this one, whatever it is called.
        names: that the place gives it, as they stand there; possibly none.
        platforms: that it is for; empty when that cannot be told without resolving it.
    """

    reference: Reference
    names: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()


@runtime_checkable
class ImageArchive(ImageSource, Protocol):
    """A source whose references may name a place that holds several images: an archive, a layout."""

    async def held(self, place: Reference) -> tuple[Held, ...]:
        """Every image of the place, in its order; an image with several platforms is one. A reference that names one image gives that.

        Raises:
            NotFound, Corrupt, Unsupported, LimitExceeded: as for :meth:`ImageSource.resolve`.
        """
        ...
