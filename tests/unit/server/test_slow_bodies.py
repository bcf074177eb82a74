"""Bodies of clients that stop sending, over a real connection: they are not waited for without end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from monocore_core.errors import TooSlow
from monocore_core.server import bodies
from monocore_core.server.problems import problem_of


@asynccontextmanager
async def connected(
    handle: Callable[[web.Request], Awaitable[web.Response]],
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that answers by ``handle``."""
    application = web.Application()
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        yield reader, writer
        writer.close()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("sent", [b"", b'{"a": ', b"[" * 5000])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_client_that_stops_sending_is_told(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, whole: bool
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIME", 0.2)
    monkeypatch.setattr(bodies, "BODY_SILENCE", 0.2)
    refused: list[TooSlow] = []

    async def handle(request: web.Request) -> web.Response:
        try:
            if whole:
                await bodies.table_of(request)
            else:
                assert b"".join([piece async for piece in bodies.stream_of(request)]) == sent
        except TooSlow as error:
            refused.append(error)
            return web.json_response(problem_of(error), status=408)
        return web.Response()

    async with connected(handle) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n" + sent)
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        assert len(refused) == 1


async def test_a_body_that_comes_in_pieces_is_whole() -> None:
    got: list[object] = []

    async def handle(request: web.Request) -> web.Response:
        got.append(await bodies.table_of(request))
        return web.Response()

    async with connected(handle) as (reader, writer):
        writer.write(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"a"')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b": [1]}")
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert got == [{"a": [1]}]
