"""Connections made by the agent: to TCP ports and Unix sockets, both directions, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from pathlib import Path

import pytest

from monocore_core.errors import DeadlineExceeded, GuestError, InvalidInput, NotFound, Unreachable
from monocore_core.guest.client import Guest
from monocore_core.guest.connections import GuestStream
from monocore_core.model.guest import ProcessSpec


async def everything(stream: GuestStream) -> bytes:
    parts: list[bytes] = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, and after the end a word."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_tcp_both_ways(guest: Guest, address: str) -> None:
    async with await asyncio.start_server(echo, address, 0) as server:
        port = server.sockets[0].getsockname()[1]
        data = os.urandom(3_000_000)
        async with await guest.dial(port, address) as stream:

            async def send() -> None:
                for at in range(0, len(data), 100_000):
                    assert await stream.write(data[at : at + 100_000])
                await stream.close_write()
                await stream.close_write()

            got, _ = await asyncio.gather(everything(stream), send())
        assert hashlib.sha256(got).digest() == hashlib.sha256(data + b"bye").digest()


async def test_a_unix_socket(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "u"
    async with await asyncio.start_unix_server(echo, path):
        stream = await guest.dial_socket(str(path))
        assert await stream.write(b"hello")
        assert await stream.read() == b"hello"
        await stream.close_write()
        assert await everything(stream) == b"bye"
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(GuestError, match="closed"):
            await stream.write(b"x")
    with pytest.raises(NotFound, match=r"cannot connect to '.*/missing'"):
        await guest.dial_socket(str(tmp_path / "missing"))
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        with pytest.raises(Unreachable, match="refused"):
            await guest.dial_socket(str(tmp_path / "deaf"))


async def test_refused_and_unanswered(guest: Guest) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match=r"port \d+ of 127.0.0.1: Connection refused"):
            await guest.dial(closed.getsockname()[1])
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        async with await guest.dial(port):  # all that the backlog takes
            with pytest.raises(DeadlineExceeded, match="in time"):
                await guest.dial(port, timeout=0.2)


async def test_the_far_side_closes_first(guest: Guest) -> None:
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(b"short")
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        async with await guest.dial(server.sockets[0].getsockname()[1]) as stream:
            assert await everything(stream) == b"short"
            await closed.wait()
            async with asyncio.timeout(20):
                while await stream.write(bytes(65536)):
                    pass
        process = await guest.spawn(ProcessSpec(argv=("true",), env=("PATH=/bin:/usr/bin",)))
        assert (await process.wait()).code == 0


async def test_closing_ends_it_at_the_far_side(guest: Guest) -> None:
    ended = asyncio.Event()

    async def until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(until_end, "127.0.0.1", 0) as server:
        stream = await guest.dial(server.sockets[0].getsockname()[1])
        reading = asyncio.create_task(stream.read())
        await stream.write(b"some")
        await stream.aclose()
        await asyncio.wait_for(ended.wait(), 20)
        with pytest.raises(GuestError, match="closed"):
            await reading


@pytest.mark.parametrize(("port", "address"), [(0, "127.0.0.1"), (65536, "::1"), (80, "localhost"), (80, "")])
async def test_where_nothing_can_be(guest: Guest, port: int, address: str) -> None:
    with pytest.raises(InvalidInput):
        await guest.dial(port, address)
    with pytest.raises(InvalidInput):
        await guest.dial_socket("relative")
    with pytest.raises(InvalidInput):
        await guest.dial_socket("/" + "x" * 107)
