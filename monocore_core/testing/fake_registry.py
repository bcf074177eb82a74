"""A registry on loopback that misbehaves on request: it serves one image, any answer can be replaced, every request is remembered.

Example::

    async def broken(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "1"})

    async with FakeRegistry(image, blob=broken) as fake:
        ...                                         # pull fake.reference
        assert len(fake.asked("/blobs/")) == 3

Needs aiohttp (extra ``testing``). For a registry that behaves, see :mod:`monocore_core.testing.registry`.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web
from attrs import define, field

from monocore_core.testing.images import BuiltImage

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@define(eq=False)
class FakeRegistry:
    """The server; an async context manager.

    Attributes:
        image: what it has, under every name and tag.
        manifest: answers for manifests, instead of :meth:`serve_manifest`.
        blob: answers for blobs, instead of :meth:`serve_blob`.
        other: answers for anything else (token services, redirect targets); else empty 200s.
        tls: serves HTTPS with it.
        bind: address to listen on.
        address: ``host:port`` while it runs.
        requests: all of them, in order.
    """

    image: BuiltImage
    manifest: Handler | None = None
    blob: Handler | None = None
    other: Handler | None = None
    tls: ssl.SSLContext | None = None
    bind: str = "127.0.0.1"
    address: str = field(default="", init=False)
    requests: list[web.BaseRequest] = field(factory=list[web.BaseRequest], init=False)
    _runner: web.AppRunner | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, handle_signals=False, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.bind, 0, ssl_context=self.tls).start()
        self.address = f"{self.bind}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Of the server."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def reference(self) -> str:
        """One of the image's names."""
        return f"{self.address}/team/app:1"

    def asked(self, part: str) -> list[web.BaseRequest]:
        """Requests whose path has ``part`` in it."""
        return [request for request in self.requests if part in request.path]

    def content(self, request: web.Request) -> bytes:
        """Bytes of the blob that a request asks for.

        Raises:
            HTTPNotFound: there is none.
        """
        name = request.path.rpartition("/")[2]
        for digest, blob in self.image.blobs.items():
            if str(digest) == name:
                return blob.read()
        raise web.HTTPNotFound

    async def serve_manifest(self, request: web.Request) -> web.StreamResponse:
        """By tag, or by the digest of the image or of one that its index names."""
        name = request.path.rpartition("/")[2]
        for image in self.image.walk():
            if str(image.digest) == name or (":" not in name and image is self.image):
                headers = {"Docker-Content-Digest": str(image.digest), "Content-Type": image.media_type}
                return web.Response(body=image.manifest, headers=headers)
        raise web.HTTPNotFound

    async def serve_blob(self, request: web.Request) -> web.StreamResponse:
        """As it should be, with ranges."""
        data, start = self.content(request), start_of(request)
        if not start:
            return web.Response(body=data)
        if start >= len(data):
            return web.Response(status=416)
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        return web.Response(status=206, body=data[start:], headers=headers)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if "/manifests/" in request.path:
            return await (self.manifest or self.serve_manifest)(request)
        if "/blobs/" in request.path:
            return await (self.blob or self.serve_blob)(request)
        return await self.other(request) if self.other is not None else web.Response()


def start_of(request: web.BaseRequest) -> int:
    """First byte that a request's ``Range`` asks for."""
    text = request.headers.get("Range", "bytes=0-")
    return int(text.removeprefix("bytes=").partition("-")[0])


async def send_part(
    request: web.Request, data: bytes, *, length: int | None = None, status: int = 200, **headers: str
) -> web.StreamResponse:
    """Send ``data``, having announced ``length`` bytes, then break the connection."""
    response = web.StreamResponse(status=status)
    response.content_length = len(data) if length is None else length
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    await response.prepare(request)
    await response.write(data)
    if request.transport is not None:
        request.transport.close()
    return response
