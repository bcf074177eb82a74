"""Connections to published ports, over the loopback: what comes of them when their port ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from monocore_net_tap.ports import streams
from monocore_net_tap.ports.streams import Streams


class Connected:
    """A port, a client of it, and the guest's end of that."""

    def __init__(self, port: Streams, client: socket.socket, guest: socket.socket) -> None:
        self.port = port
        self.client = client
        self.guest = guest

    async def read(self) -> bytes:
        """What the client is told, to the end."""
        found = b""
        async with asyncio.timeout(30):
            while data := await asyncio.get_running_loop().sock_recv(self.client, 1 << 20):
                found += data
        return found


def others() -> set[asyncio.Task[object]]:
    """The tasks that run beside this one."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as inside, socket.socket() as client:
        inside.settimeout(0)
        client.settimeout(0)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0)
        address = listener.getsockname()
        port = Streams(listener, inside.getsockname())
        try:
            await loop.sock_connect(client, address)
            guest, _ = await loop.sock_accept(inside)
            with guest:
                made = Connected(port, client, guest)
                await loop.sock_sendall(guest, b"hello ")
                async with asyncio.timeout(30):
                    assert await loop.sock_recv(client, 6) == b"hello "
                yield made
        finally:
            if listener.fileno() >= 0:  # no test has ended it
                port.close()
            async with asyncio.timeout(30):
                await asyncio.gather(*others(), return_exceptions=True)


async def test_what_a_guest_said_before_it_ended_is_passed_on(connected: Connected) -> None:
    connected.guest.send(b"last words")  # and nobody has run since who could have passed them on
    connected.port.close()
    assert await connected.read() == b"last words"


async def test_a_guest_that_goes_on_is_not_waited_for(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LAST_WORDS", 0.1)

    async def talk() -> None:
        with suppress(OSError):
            while True:
                await asyncio.get_running_loop().sock_sendall(connected.guest, bytes(1 << 16))

    talking = asyncio.create_task(talk())
    connected.port.close()
    with suppress(ConnectionResetError):
        await connected.read()
    async with asyncio.timeout(30):
        await talking


async def test_a_client_that_takes_nothing_is_not_waited_for(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LAST_WORDS", 0.1)
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while True:  # until every buffer is full
                await loop.sock_sendall(connected.guest, bytes(1 << 16))
    connected.port.close()
    await asyncio.sleep(0.3)
    assert not others()


async def test_no_more_connections_are_taken(connected: Connected) -> None:
    connected.port.close()
    assert await connected.read() == b""
