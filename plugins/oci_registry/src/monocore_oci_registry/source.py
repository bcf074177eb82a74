"""The image source: resolves references to manifests, and opens blobs. One pull's way through the plugin."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, frozen

from monocore_core.errors import (
    Corrupt,
    InvalidInput,
    LimitExceeded,
    MonocoreError,
    NotFound,
    Unreachable,
    Unsupported,
)
from monocore_core.interfaces.image_source import MAX_DOCUMENT, ImageSource, ResolvedImage
from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.events import Listener, Warned
from monocore_core.model.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Platform,
)
from monocore_core.ocidoc import parse_manifest, select_platform
from monocore_core.reference import Reference
from monocore_oci_registry.auth import Authorizer
from monocore_oci_registry.blobs import BlobStream
from monocore_oci_registry.client import Asked, RegistryClient
from monocore_oci_registry.credentials import Credentials
from monocore_oci_registry.endpoints import Endpoint, endpoints
from monocore_oci_registry.failures import named
from monocore_oci_registry.options import RegistryOptions
from monocore_oci_registry.retry import Patience, persist
from monocore_oci_registry.transport import open_transport, read_bounded

#: Indexes inside indexes.
MAX_DEPTH = 4
_ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))


@frozen
class _Document:
    """A manifest or an index, verified as far as it can be."""

    data: bytes
    digest: Digest
    media_type: str


@define(eq=False)
class RegistrySource:
    """Implements :class:`~monocore_core.interfaces.image_source.ImageSource`."""

    client: RegistryClient
    options: RegistryOptions
    emit: Listener

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        """Find the image: at the mirrors in order, then at the registry itself, whose error is the one that counts."""
        *mirrors, origin = self._places(reference)
        for mirror in mirrors:
            try:
                return await self._resolve_at(mirror, reference, platform)
            except NotFound:
                continue
            except MonocoreError as error:
                self.emit(Warned(f"mirror {mirror.host} is passed over: {error.brief}"))
        return await self._resolve_at(origin, reference, platform)

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a blob; see the interface."""
        if not 0 <= offset <= descriptor.size:
            raise InvalidInput(f"offset {offset} is not within a blob of {descriptor.size} bytes")
        places = self._places(image.reference)
        stream = BlobStream(
            self.client, places, image.reference, descriptor, offset, self.options, self.emit
        ).chunks()
        try:
            yield stream
        finally:
            await stream.aclose()

    def _places(self, reference: Reference) -> tuple[Endpoint, ...]:
        if reference.scheme or not reference.domain:
            raise Unsupported(f"{reference} is not the name of an image in a registry")
        return endpoints(reference.domain, self.options.mirrors, self.options.insecure)

    async def _resolve_at(
        self, endpoint: Endpoint, reference: Reference, platform: Platform
    ) -> ResolvedImage:
        wanted, size, told = reference.digest, None, None
        for _ in range(MAX_DEPTH):
            document = await self._document(endpoint, reference, wanted)
            if size is not None and len(document.data) != size:
                raise Corrupt(
                    f"manifest {document.digest} of {reference} is not of the size that its index says"
                )
            try:
                parsed = parse_manifest(document.data, document.media_type)
                if not isinstance(parsed, Index):
                    return ResolvedImage(reference, document.digest, parsed, document.data, told)
                chosen = select_platform(parsed, platform)
            except (Corrupt, Unsupported, NotFound, LimitExceeded) as error:
                raise type(error)(f"image {reference}: {error.brief}", hint=error.hint) from error
            wanted, size, told = chosen.digest, chosen.size, chosen.platform or told
        raise LimitExceeded(f"image {reference}: its indexes are nested more than {MAX_DEPTH} deep")

    async def _document(self, endpoint: Endpoint, reference: Reference, wanted: Digest | None) -> _Document:
        name = str(wanted or reference.tag)
        asked = Asked(reference, f"manifests/{name}", "manifest")
        patience = Patience(f"manifest {name} of {reference}", self.options, self.emit)

        async def fetch() -> _Document:
            async with self.client.get(endpoint, asked, {"Accept": _ACCEPT}) as response:
                if response.status != 200:
                    raise Corrupt(f"manifest of {reference}: {endpoint.host} answered {response.status}")
                data = await read_bounded(
                    response, MAX_DOCUMENT, f"the manifest of {reference}", seconds=self.options.deadline
                )
                said = response.headers.get("Docker-Content-Digest", "")
                kind = response.headers.get("Content-Type", "")
            digest = _verify(data, wanted, said, reference)
            return _Document(data, digest, kind)

        try:
            return await persist(patience, fetch)
        except Unreachable as error:
            raise named(error, reference) from error.__cause__


def _verify(data: bytes, wanted: Digest | None, said: str, reference: Reference) -> Digest:
    """The manifest's digest, once it agrees with what was asked for and with what the registry says."""
    digest = Digest.of(data, wanted.algorithm if wanted else "sha256")
    if wanted is not None and digest != wanted:
        raise Corrupt(
            f"manifest of {reference} was asked for by digest {wanted}, but has {digest}",
            hint="the registry, or something on the way to it, changes what it serves",
        )
    try:
        claimed = Digest.parse(said) if said else digest
    except InvalidInput:
        return digest
    if claimed != Digest.of(data, claimed.algorithm):
        raise Corrupt(
            f"manifest of {reference}: the registry says that its digest is {claimed}, but it is {digest}"
        )
    return digest


@asynccontextmanager
async def create(host: Host, options: RegistryOptions) -> AsyncGenerator[ImageSource]:
    """Open the source; its connections are closed at the end.

    Raises:
        ConfigError: the CA file cannot be read.
    """
    async with open_transport(options) as transport:
        authorizer = Authorizer(transport, Credentials(options, host.emit))
        yield RegistrySource(RegistryClient(transport, authorizer), options, host.emit)
