"""Requests on aiohttp: calls in, values out, and the daemon's problems as errors of ours. Cancelling a request closes its connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import TypeVar

import aiohttp
from yarl import URL

from monocore_core.client.api import MAX_PROBLEM, problem
from monocore_core.client.connection import MAX_NDJSON, certificate_refused, closed_early
from monocore_core.client.sdk.calls import Call
from monocore_core.client.sdk.endpoint import Endpoint
from monocore_core.client.tables import NOTHING, parse_table
from monocore_core.client.websocket import MAX_MESSAGE
from monocore_core.errors import (
    Corrupt,
    DeadlineExceeded,
    LimitExceeded,
    MonocoreError,
    Unauthorized,
    Unreachable,
)

T = TypeVar("T")
#: Bytes of an answer that is read whole; outputs of a command are the largest.
MAX_ANSWER = 256 * 1024 * 1024
#: Seconds to connect; connections at once.
CONNECTING, CONNECTIONS = 30.0, 1000
_CHUNK = 256 * 1024


class Link:
    """A daemon, and the connections to it. Opened with the first request, in whichever event loop that is."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections. A repeat does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, call: Call[T]) -> T:
        """Ask, and give what is answered.

        Raises:
            MonocoreError: what the daemon says; Unreachable, DeadlineExceeded: it does not say anything.
        """
        async with self.open(call.method, call.where, call.body, timeout=call.timeout) as answer:
            data = await _read(answer, MAX_ANSWER)
            return call.read(parse_table(data) if data.strip() else NOTHING)

    async def lines(self, call: Call[T]) -> AsyncGenerator[T]:
        """The lines of an answer, as they come. Closing it tells the daemon to stop.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        async with self.open(call.method, call.where, call.body, timeout=call.timeout) as answer:
            kept = bytearray()
            async for chunk in answer.content.iter_any():
                kept += chunk
                *whole, rest = kept.split(b"\n") if b"\n" in chunk else [kept]
                for line in whole:
                    if line.strip():
                        yield call.read(parse_table(bytes(line)))
                kept = bytearray(rest)
                if len(kept) > MAX_NDJSON:
                    raise LimitExceeded(f"the daemon sent a line of more than {MAX_NDJSON} bytes")
            if kept.strip():
                yield call.read(parse_table(bytes(kept)))

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        where: str,
        body: object = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - of silence, not of the whole
        data: AsyncIterator[bytes] | bytes | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """An answer that is good, whose body is still to be read.

        Args:
            method: of HTTP.
            where: path and query, quoted.
            body: sent as JSON.
            timeout: seconds that the daemon may be silent.
            data: sent as it is.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECTING, sock_read=timeout)
        with explained(self.endpoint):
            async with self._opened().request(
                method, self._url(where), json=body, data=data, timeout=limits
            ) as answer:
                if answer.status >= 400:
                    raise await _refusal(answer)
                yield answer

    async def chunks(self, where: str) -> AsyncGenerator[bytes]:
        """The body of an answer, as it comes."""
        async with self.open("GET", where) as answer:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                yield chunk

    async def websocket(self, where: str) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        with explained(self.endpoint):
            try:
                async with asyncio.timeout(CONNECTING):
                    return await self._opened().ws_connect(
                        self._url(where), max_msg_size=MAX_MESSAGE + 1, autoping=True, compress=0
                    )
            except aiohttp.WSServerHandshakeError as error:
                # aiohttp has thrown the problem document away: the same request without an upgrade tells it
                if error.status == 401:
                    raise Unauthorized("the daemon wants another token") from error
                async with self.open("GET", where):
                    pass
                raise Corrupt("the daemon did not open a WebSocket") from error

    def _url(self, where: str) -> URL:
        return URL(self.endpoint.base + where, encoded=True)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            path = self.endpoint.path
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(path=path, limit=CONNECTIONS)
                if path is not None
                else aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self.endpoint.tls or False)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=dict(self.endpoint.headers),
                requote_redirect_url=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_CHUNK,
            )
        return self._session


@contextlib.contextmanager
def explained(endpoint: Endpoint) -> Generator[None]:
    """Errors of aiohttp as ours."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unauthorized(
            f"the daemon at {endpoint.base} is not who it should be: {error.certificate_error}",
            hint="trust its certificate: tls=tls_context(fingerprint=…), or ca=…; from monocore_core.client",
        ) from error
    except TimeoutError as error:
        raise DeadlineExceeded(
            "the daemon does not answer", hint="its log is daemon.log in its home folder"
        ) from error
    except aiohttp.ServerDisconnectedError as error:
        raise closed_early(secure=endpoint.tls is not None) from error
    except (aiohttp.ClientPayloadError, ConnectionError) as error:
        why = f" ({error})" if str(error) else ""
        raise _refused(error) or Unreachable(f"the connection to the daemon was lost{why}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise _refused(error) or Unreachable(
            f"the daemon at {endpoint.path or endpoint.base} cannot be reached: {error}"
        ) from error


def _refused(error: BaseException | None) -> Unauthorized | None:
    """What is about our certificate, if that is what an error is about."""
    while error is not None:
        if isinstance(error, OSError) and (found := certificate_refused(error)) is not None:
            return found
        error = error.__cause__
    return None


async def _read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    found = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        found += chunk
        if len(found) > limit:
            raise LimitExceeded(f"the daemon's answer is larger than {limit} bytes")
    return bytes(found)


async def _refusal(answer: aiohttp.ClientResponse) -> MonocoreError:
    try:
        table = parse_table(await _read(answer, MAX_PROBLEM))
    except MonocoreError:
        table = NOTHING
    return problem(table, answer.status)
