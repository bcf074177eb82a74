"""One HTTP exchange: the connections, redirects followed by hand, and where they may lead.

Two sessions share nothing: the *open* one connects to whatever a person named; the *guarded* one, to what a stranger's redirect or token
realm named, and refuses addresses of this machine, its link and metadata services, after resolving.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from attrs import define, field, frozen
from yarl import URL

from monocore_core import __version__
from monocore_core.errors import ConfigError, LimitExceeded, Unreachable
from monocore_oci_registry.endpoints import Endpoint, address_of, hostname, is_forbidden
from monocore_oci_registry.failures import wire_errors
from monocore_oci_registry.options import RegistryOptions
from monocore_oci_registry.proxies import proxy_for
from monocore_oci_registry.retry import Transient

USER_AGENT = f"monocore/{__version__}"
MAX_REDIRECTS = 10
#: Bytes of one header line, and of an answer's status line.
MAX_HEADER = 16 * 1024
#: Bytes that a connection reads ahead of its consumer (twice this, at most).
READ_AHEAD = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@frozen
class Call:
    """What to ask.

    Attributes:
        url: absolute.
        headers: without ``Authorization``.
        authorization: sent to the origin of ``url`` only.
        form: makes it a POST; None is a GET.
    """

    url: URL
    headers: Mapping[str, str] = field(factory=dict[str, str])
    authorization: str | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)


class _GuardedResolver(AbstractResolver):
    """Resolves, and refuses names that lead home."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            check_address(result["host"], host)
        return found

    async def close(self) -> None:
        await self._inner.close()


def check_address(address: str, host: str) -> None:
    """Refuse a local address that a stranger sent us to.

    Raises:
        Unreachable: it is one.
    """
    parsed = address_of(address)
    if parsed is not None and is_forbidden(parsed):
        raise Unreachable(
            f"a registry sent us to {host} ({parsed}), a local address, which is refused",
            hint="if that is meant, list the registry in plugins.oci_registry.insecure",
        )


@define(eq=False)
class Transport:
    """The connections. Use :func:`open_transport`."""

    options: RegistryOptions
    opened: aiohttp.ClientSession
    guarded: aiohttp.ClientSession
    environ: Mapping[str, str]
    _schemes: dict[str, str] = field(factory=dict[str, str], init=False)
    _slots: dict[str, asyncio.Semaphore] = field(factory=dict[str, asyncio.Semaphore], init=False)

    @asynccontextmanager
    async def send(self, endpoint: Endpoint, call: Call) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The answer that is no redirect, its body unread; closed at the end.

        Raises:
            Transient: what may pass.
            Unreachable: what will not, or where we do not go.
        """
        slot = self._slots.setdefault(endpoint.host, asyncio.Semaphore(self.options.connections))
        async with slot, self._follow(endpoint, call) as response:
            yield response

    @asynccontextmanager
    async def _follow(self, endpoint: Endpoint, call: Call) -> AsyncGenerator[aiohttp.ClientResponse]:
        url, authorization = call.url, call.authorization
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._exchange(endpoint, url, call, authorization)
            try:
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    yield response
                    return
                if call.form is not None:
                    raise Unreachable(f"{url.host} redirects a request that carries credentials")
                target = _target(url, response.headers["Location"], endpoint)
            finally:
                if not response.content.at_eof():
                    response.close()
            if target.origin() != call.url.origin():
                authorization = None
            url = target
        raise Unreachable(f"{call.url.host} redirects more than {MAX_REDIRECTS} times")

    async def base(self, endpoint: Endpoint) -> URL:
        """``https://host`` or ``http://host``, whichever the endpoint speaks; found out once."""
        scheme = endpoint.schemes[0] if len(endpoint.schemes) == 1 else self._schemes.get(endpoint.host)
        if scheme is None:
            scheme = await self._probe(endpoint)
            self._schemes[endpoint.host] = scheme
        return URL(f"{scheme}://{endpoint.host}")

    async def _probe(self, endpoint: Endpoint) -> str:
        """HTTPS when it works; plain HTTP when nobody speaks TLS there and that is allowed."""
        first, second = endpoint.schemes
        try:
            async with self.send(endpoint, Call(URL(f"{first}://{endpoint.host}/v2/"))):
                return first
        except Transient as failure:
            portless = URL(f"http://{endpoint.host}").explicit_port is None
            if failure.absent and not portless:
                raise
            try:
                async with self.send(endpoint, Call(URL(f"{second}://{endpoint.host}/v2/"))):
                    return second
            except Transient:
                raise failure from None

    async def _exchange(
        self, endpoint: Endpoint, url: URL, call: Call, authorization: str | None
    ) -> aiohttp.ClientResponse:
        named = endpoint.near or url.host == hostname(endpoint.host)
        proxy = proxy_for(str(url), self.environ)
        if not named:
            check_address(url.host or "", url.host or "")
        session = self.opened if named or proxy else self.guarded
        headers = {"Accept-Encoding": "identity", **call.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        verify = endpoint.verify or not named or url.host != hostname(endpoint.host)
        seconds = self.options.connect_timeout + self.options.idle_timeout
        with wire_errors(url.host_port_subcomponent or ""):
            async with asyncio.timeout(seconds):  # a server may drip headers, too
                return await session.request(
                    "GET" if call.form is None else "POST",
                    url,
                    headers=headers,
                    data=dict(call.form) if call.form is not None else None,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=verify,
                )


def _target(url: URL, location: str, endpoint: Endpoint) -> URL:
    """Where a redirect leads, when it may."""
    try:
        target = url.join(URL(location, encoded=True))
        host = target.host
    except ValueError as error:
        raise Unreachable(f"{url.host} redirects to {location[:200]!r}, which is no URL") from error
    if target.scheme not in {"http", "https"} or not host or target.user is not None:
        raise Unreachable(f"{url.host} redirects to {location[:200]!r}, which we do not follow")
    if url.scheme == "https" and target.scheme == "http" and not endpoint.near:
        raise Unreachable(f"{url.host} redirects from HTTPS to plain HTTP ({host}), which is refused")
    return target


async def read_bounded(response: aiohttp.ClientResponse, limit: int, what: str, *, seconds: float) -> bytes:
    """The whole body, within so many seconds.

    Raises:
        LimitExceeded: it is longer than ``limit`` bytes.
        Transient: the connection broke or is too slow.
    """
    body = bytearray()
    if (response.content_length or 0) > limit:
        raise LimitExceeded(f"{what} of {response.content_length} bytes is larger than {limit}")
    with wire_errors(response.url.host_port_subcomponent or ""):
        async with asyncio.timeout(seconds):
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > limit:
                    raise LimitExceeded(f"{what} is larger than {limit} bytes")
    return bytes(body)


@asynccontextmanager
async def open_transport(
    options: RegistryOptions, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Transport]:
    """Open sessions, and close them at the end.

    Raises:
        ConfigError: the CA file cannot be read.
    """
    context = _tls(options)
    async with (
        _session(options, context, None) as opened,
        _session(options, context, _GuardedResolver()) as guarded,
    ):
        yield Transport(options, opened, guarded, os.environ if environ is None else environ)


def _session(
    options: RegistryOptions, context: ssl.SSLContext | bool, resolver: AbstractResolver | None
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,  # Transport bounds them: the waiting for a connection must not count as the server's
        ssl=context,
        resolver=resolver if resolver is not None else aiohttp.ThreadedResolver(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": USER_AGENT},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,  # it would also read .netrc; see proxies.py
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=options.connect_timeout, sock_read=options.idle_timeout
        ),
        read_bufsize=READ_AHEAD,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
    )


def _tls(options: RegistryOptions) -> ssl.SSLContext | bool:
    """What certificates are checked against; True is the system's, which aiohttp has read already: that takes 50 ms."""
    if options.ca is None:
        return True
    context = ssl.create_default_context()
    path = options.ca.expanduser()
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"plugins.oci_registry.ca: {path} holds no certificates: {reason}") from error
    return context
