"""What nobody waits for any more is given up, and its clean-up is waited for."""

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector, web

from monocore_core.model.daemon import DaemonSettings
from monocore_core.server.certificate import tls_context
from monocore_core.server.vanishing import told, unless_gone


async def test_a_client_that_goes_away_cancels_the_work(tmp_path: Path) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(ConnectionResetError):
            await unless_gone(request, work())
        assert cleaned.is_set()
        done.set()
        return web.Response()

    done = asyncio.Event()
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        async with ClientSession(connector=UnixConnector(str(tmp_path / "s"))) as session:
            asking = asyncio.create_task(session.get("http://x/"))
            await asyncio.wait_for(begun.wait(), 30)
            asking.cancel()
            await asyncio.wait({asking})
            await asyncio.wait_for(done.wait(), 30)
    finally:
        await runner.cleanup()


async def test_work_that_ends_first_gives_what_it_gives() -> None:
    async def work(*, error: bool) -> int:
        if error:
            raise ValueError("so")
        return 3

    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(ValueError, match="so"):
            await unless_gone(request, work(error=True))
        return web.Response(text=str(await unless_gone(request, work(error=False))))

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
            assert (answer.status, await answer.text()) == (200, "3")
    finally:
        await runner.cleanup()


async def test_what_a_connection_of_tls_tells_when_it_is_gone(tmp_path: Path) -> None:
    """Of one that was closed twice, asyncio asks a protocol that is not there any more."""
    context, _ = tls_context(DaemonSettings(), tmp_path)
    found: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        transport = writer.transport
        said = [told(transport, "sockname")]
        transport.close()
        transport.close()
        found.set_result([*said, told(transport, "sockname")])

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cafile=str(tmp_path / "tls.pem"))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(b"here\n")
        before, after = await asyncio.wait_for(found, 30)
        writer.close()
    assert before == ("127.0.0.1", port)
    assert after in (None, before)  # later releases of Python keep what it said
    assert told(None, "sockname") is None
