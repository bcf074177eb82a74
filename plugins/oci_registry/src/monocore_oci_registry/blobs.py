"""A blob's bytes as one stream that mends itself: it goes on where it stopped, at the same place or at the next."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator

import aiohttp
from attrs import define, field, frozen

from monocore_core.errors import Corrupt, MonocoreError, Unreachable
from monocore_core.model.events import Listener
from monocore_core.model.oci import Descriptor
from monocore_core.reference import Reference
from monocore_oci_registry.client import Asked, RegistryClient
from monocore_oci_registry.endpoints import Endpoint
from monocore_oci_registry.failures import named, wire_errors
from monocore_oci_registry.options import RegistryOptions
from monocore_oci_registry.retry import PROGRESS, Patience, Transient

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\Z")


@frozen
class _Pace:
    """Slowest that a connection may be."""

    bytes_per_second: int
    window: float


@define(eq=False)
class _Meter:
    """Notices a connection that only drips: counts the time spent waiting for it, not that of the consumer."""

    pace: _Pace
    _waited: float = field(default=0.0, init=False)
    _count: int = field(default=0, init=False)

    def count(self, size: int, waited: float) -> bool:
        """Whether the connection is still fast enough."""
        self._waited += waited
        self._count += size
        if self._waited < self.pace.window:
            return True
        good = self._count >= self._waited * self.pace.bytes_per_second
        self._waited, self._count = 0.0, 0
        return good


@define(eq=False)
class BlobStream:
    """One blob on its way.

    Attributes:
        client: makes the requests.
        places: where it may be, in order.
        reference: of the image.
        descriptor: of the blob; its size is what is given, exactly.
        position: bytes that the consumer has already.
    """

    client: RegistryClient
    places: tuple[Endpoint, ...]
    reference: Reference
    descriptor: Descriptor
    position: int
    options: RegistryOptions
    emit: Listener

    @property
    def name(self) -> str:
        """For messages."""
        return f"blob {self.descriptor.digest.short} of {self.reference}"

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Bytes from ``position`` to the end.

        Raises:
            MonocoreError: what the last place said, or the first error that asking elsewhere cannot mend.
        """
        failures: list[MonocoreError] = []
        for endpoint in self.places:
            try:
                stream = self._at(endpoint)
                try:
                    async for chunk in stream:
                        yield chunk
                finally:
                    await stream.aclose()
            except MonocoreError as error:
                failures.append(named(error, self.reference))
            else:
                return
        raise failures[-1]

    async def _at(self, endpoint: Endpoint) -> AsyncGenerator[bytes]:
        """From one place, over as many connections as it takes."""
        patience = Patience(self.name, self.options, self.emit)
        mark = self.position
        while self.position < self.descriptor.size:
            try:
                stream = self._connection(endpoint)
                try:
                    async for chunk in stream:
                        self.position += len(chunk)
                        yield chunk
                finally:
                    await stream.aclose()
            except Transient as failure:
                if self.position - mark >= PROGRESS:
                    patience.progressed()
                mark = self.position
                await patience.pause(failure)

    async def _connection(self, endpoint: Endpoint) -> AsyncGenerator[bytes]:
        """The rest of the blob over one connection."""
        asked = Asked(
            self.reference, f"blobs/{self.descriptor.digest}", f"blob {self.descriptor.digest.short}"
        )
        start = self.position
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with self.client.get(endpoint, asked, headers) as response:
            skip = self._check(response, start, endpoint)
            meter = _Meter(_Pace(self.options.slow_bytes, self.options.slow_window))
            left = self.descriptor.size - start
            while True:
                began = time.monotonic()
                chunk = await self._read(response)
                if not chunk:
                    break
                if not meter.count(len(chunk), time.monotonic() - began):
                    raise Transient(Unreachable(f"{self.name}: {endpoint.host} sends too slowly"))
                if skip:
                    dropped = min(skip, len(chunk))
                    skip -= dropped
                    chunk = chunk[dropped:]
                if len(chunk) > left:
                    raise self._wrong(f"more than the {self.descriptor.size} bytes that its manifest says")
                if chunk:
                    left -= len(chunk)
                    yield chunk
            if left:
                self._short(response, left)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        with wire_errors(response.url.host_port_subcomponent or ""):
            return await response.content.readany()

    def _check(self, response: aiohttp.ClientResponse, start: int, endpoint: Endpoint) -> int:
        """Whether the answer is what was asked for; gives the bytes to skip."""
        size = self.descriptor.size
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unreachable(f"{self.name}: {endpoint.host} encodes it, though asked not to")
        if response.status == 416:
            raise self._wrong(f"fewer than the {size} bytes that its manifest says")
        if response.status == 200:
            if response.content_length not in {None, size}:
                raise self._wrong(f"{response.content_length} bytes, but its manifest says {size}")
            return start
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start or int(match[2]) >= size:
            raise Unreachable(
                f"{self.name}: {endpoint.host} answered with the wrong part "
                f"({response.headers.get('Content-Range', 'unnamed')[:80]!r} for bytes {start} to {size - 1})"
            )
        if match[3] not in {"*", str(size)}:
            raise self._wrong(f"{match[3]} bytes, but its manifest says {size}")
        return 0

    def _short(self, response: aiohttp.ClientResponse, left: int) -> None:
        """The body ended early, in good order: of a part, or of what only the connection's end delimits, the rest may come."""
        delimited = response.content_length is not None or response.headers.get("Transfer-Encoding")
        if response.status == 206 or not delimited:
            raise Transient(Unreachable(f"{self.name}: {left} bytes are still missing"))
        raise self._wrong(
            f"{self.descriptor.size - left} bytes, but its manifest says {self.descriptor.size}"
        )

    def _wrong(self, has: str) -> Corrupt:
        return Corrupt(
            f"{self.name}: the registry has {has}", hint="the image is damaged there: push it again"
        )
