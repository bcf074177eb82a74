"""Both forms of the SDK against a server that lies: every lie is an error of ours, in bounded time and memory."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from monocore_core.client import Client as AsyncClient
from monocore_core.client.sdk.aio import link as aio_link
from monocore_core.client.sync import Client as SyncClient
from monocore_core.errors import Conflict, Corrupt, MonocoreError, NotFound, Unreachable

Serve = Callable[[bytes], str]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server that gives one answer to everybody; gives its URL."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = tmp_path / "s"
        listener.bind(str(path))
        listener.listen(16)
        threads: list[threading.Thread] = []

        def start(said: bytes) -> str:
            def run() -> None:
                while True:
                    try:
                        connected, _ = listener.accept()
                    except OSError:
                        return
                    with connected:
                        try:
                            connected.recv(65536)
                            connected.sendall(said)
                        except OSError:
                            continue

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return f"unix://{path}"

        yield start
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


LIES = [
    (b"", Unreachable),
    (b"SSH-2.0-x\r\n", MonocoreError),
    (OK + b"Content-Length: 100\r\n\r\n{", Unreachable),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", MonocoreError),
    (answer(b"[1]"), Corrupt),
    (answer(b"{}"), Corrupt),
    (answer(b'{"id": 7, "state": []}'), Corrupt),
    (answer(b"{" * 100_000), Corrupt),
    (answer(b'{"title": "NotFound", "detail": "no x"}', b"404 Not Found"), NotFound),
    (answer(b"<html>", b"502 Bad Gateway"), MonocoreError),
    (answer(b'{"title": "__class__"}', b"500 x"), MonocoreError),
    (b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", MonocoreError),
]


@pytest.mark.parametrize(("said", "wanted"), LIES, ids=range(len(LIES)))
async def test_a_lie_is_an_error(serve: Serve, said: bytes, wanted: type[MonocoreError]) -> None:
    url = serve(said)
    async with await AsyncClient.connect(url) as client, asyncio.timeout(30):
        with pytest.raises(wanted):
            await client.get("x")
    with pytest.raises(wanted):
        await asyncio.to_thread(SyncClient.connect(url).get, "x")


@pytest.mark.parametrize("said", [answer(b"no\n"), answer(b'{"number": 1}\n{"num')])
async def test_lines_that_are_none(serve: Serve, said: bytes) -> None:
    url = serve(said)
    async with await AsyncClient.connect(url) as client:
        with pytest.raises(Corrupt):
            async with aclosing(client.events()) as events:
                [_ async for _ in events]
    with pytest.raises(Corrupt):
        list(SyncClient.connect(url).events())


async def test_an_answer_is_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_link, "MAX_ANSWER", 100)
    async with await AsyncClient.connect(serve(answer(b" " * 200))) as client:
        with pytest.raises(MonocoreError, match="larger than 100 bytes"):
            await client.info()


async def test_a_process_whose_socket_is_none(serve: Serve) -> None:
    said = answer(b'{"id": "0123", "name": "x", "state": "running"}')
    async with await AsyncClient.connect(serve(said)) as client:
        sandbox = await client.get("x")
        with pytest.raises((Corrupt, Unreachable, Conflict)):
            await sandbox.exec("true")


async def test_services_that_end_without_a_word(serve: Serve) -> None:
    url = serve(answer(b'{"event": {"kind": "started"}}\n'))
    told: list[object] = []
    async with await AsyncClient.connect(url) as client:
        with pytest.raises(Unreachable, match="result"):
            await client.services.down("shop", on_event=told.append)
    assert told == [{"kind": "started"}]
    with pytest.raises(Unreachable, match="result"):
        SyncClient.connect(url).services.down("shop")
