"""Answers that go on: newline-delimited JSON, and bytes as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from aiohttp import web

from monocore_core.server.vanishing import unless_gone

NDJSON = "application/x-ndjson"


async def begin(
    request: web.Request, content_type: str, headers: Mapping[str, str] | None = None, *, status: int = 200
) -> web.StreamResponse:
    """Begin an answer whose length nobody knows yet, unless ``headers`` say it."""
    common = {"Content-Type": content_type, "Cache-Control": "no-store"}
    response = web.StreamResponse(status=status, headers={**common, **(headers or {})})
    await response.prepare(request)
    return response


async def send_line(response: web.StreamResponse, table: Mapping[str, object]) -> None:
    """One line of NDJSON; waits while the client does not take more."""
    await response.write(json.dumps(table, separators=(",", ":")).encode() + b"\n")


async def stream_bytes(
    request: web.Request,
    content_type: str,
    chunks: AsyncIterator[bytes],
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Bytes as they come. The first is waited for, so that an error before it is answered as one."""
    iterator = aiter(chunks)
    first = await anext(iterator, b"")
    response = await begin(request, content_type, headers)
    if first:
        await response.write(first)
    async for chunk in iterator:
        await response.write(chunk)
    await response.write_eof()
    return response


async def stream_lines(
    request: web.Request, lines: AsyncGenerator[Mapping[str, object]]
) -> web.StreamResponse:
    """Objects as they come, a line each. A client that goes away ends what gives them, even while there is nothing to tell."""
    response = await begin(request, NDJSON)

    async def send() -> None:
        async with aclosing(lines):
            async for line in lines:
                await send_line(response, line)
        await response.write_eof()

    await unless_gone(request, send())
    return response
