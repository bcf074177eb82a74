"""The monitor's client against honest and hostile servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.errors import MachineError
from monocore_core.vmmkit.qmp import MAX_LINE, Message, Qmp, parse_message

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'


@pytest.fixture
async def pair() -> AsyncGenerator[tuple[socket.socket, asyncio.StreamReader, asyncio.StreamWriter]]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    async with asyncio.timeout(10):
        yield ours, reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):  # the other side may have gone without reading all
        await writer.wait_closed()
    ours.close()


Pair = tuple[socket.socket, asyncio.StreamReader, asyncio.StreamWriter]


async def greeted(pair: Pair, events: list[Message]) -> Qmp:
    ours, reader, writer = pair
    writer.write(GREETING)
    opening = asyncio.create_task(Qmp.open(ours, events.append))
    number = asked_for(await reader.readline(), "qmp_capabilities")
    writer.write(b'{"event": "EARLY", "data": {}}\n{"return": {}, "id": %d}\n' % number)
    return await opening


def asked_for(line: bytes, command: str) -> int:
    """The number of a request for a command."""
    request = parse_message(line)
    assert request["execute"] == command
    number = request["id"]
    assert isinstance(number, int)
    return number


async def test_answers_events_and_refusals(pair: Pair) -> None:
    _, reader, writer = pair
    events: list[Message] = []
    qmp = await greeted(pair, events)
    asked = asyncio.create_task(qmp.execute("query-status", {"a": 1}))
    refused = asyncio.create_task(qmp.execute("nonsense"))
    line = await reader.readline()
    number = asked_for(line, "query-status")
    assert parse_message(line)["arguments"] == {"a": 1}
    other = asked_for(await reader.readline(), "nonsense")
    writer.write(b'{"error": {"class": "CommandNotFound", "desc": "no such command"}, "id": %d}\n' % other)
    writer.write(b'{"return": 9, "id": 77}\n{"return": {"running": true}, "id": %d}\n' % number)
    assert await asked == {"running": True}
    with pytest.raises(MachineError, match="no such command"):
        await refused
    assert [event["event"] for event in events] == ["EARLY"]
    await qmp.aclose()
    await qmp.aclose()
    with pytest.raises(MachineError, match="closed"):
        await qmp.execute("quit")


@pytest.mark.parametrize(
    "stray", [b'{"return": {"running": false}, "id": 3}\n', b'{"event": "RESUME"}\n', b"{}\n"]
)
async def test_what_was_meant_for_an_earlier_client_is_not_ours(pair: Pair, stray: bytes) -> None:
    pair[2].write(stray * 3)
    events: list[Message] = []
    qmp = await greeted(pair, events)
    assert [event["event"] for event in events] == ["EARLY"]
    await qmp.aclose()


async def test_two_clients_do_not_use_the_same_numbers(pair: Pair) -> None:
    ours, theirs = socket.socketpair()
    qmp = await greeted(pair, [])
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    again = await greeted((ours, reader, writer), [])
    one, two = asyncio.create_task(qmp.execute("stop")), asyncio.create_task(again.execute("stop"))
    assert asked_for(await pair[1].readline(), "stop") != asked_for(await reader.readline(), "stop")
    for monitor, asked in ((qmp, one), (again, two)):
        await monitor.aclose()
        await asyncio.wait([asked])
        assert isinstance(asked.exception(), MachineError)
    writer.close()


async def test_an_answered_command_does_not_take_another_ones_answer(pair: Pair) -> None:
    _, reader, writer = pair
    qmp = await greeted(pair, [])
    first = asyncio.create_task(qmp.execute("stop"))
    second = asyncio.create_task(qmp.execute("cont"))
    stop = asked_for(await reader.readline(), "stop")
    cont = asked_for(await reader.readline(), "cont")
    writer.write(b'{"return": 1, "id": %d}\n' % stop)
    assert await first == 1
    writer.write(b'{"return": 2, "id": %d}\n' % cont)
    assert await second == 2
    await qmp.aclose()


async def test_a_descriptor_is_handed_over(pair: Pair) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    server = asyncio.create_task(asyncio.to_thread(_takes_a_descriptor, theirs))
    qmp = await Qmp.open(ours, lambda _: None)
    read, write = os.pipe()
    await qmp.hand("state", write)
    os.close(write)
    received = await server
    os.write(received, b"same pipe")
    os.close(received)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"same pipe"
    theirs.close()
    await qmp.drained()
    await qmp.aclose()


def _takes_a_descriptor(server: socket.socket) -> int:
    server.sendall(GREETING)
    server.sendall(b'{"return": {}, "id": %d}\n' % asked_for(server.recv(4096), "qmp_capabilities"))
    request, descriptors, _, _ = socket.recv_fds(server, 4096, 1)
    server.sendall(b'{"return": {}, "id": %d}\n' % asked_for(request, "getfd"))
    assert parse_message(request)["arguments"] == {"fdname": "state"}
    return descriptors[0]


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\n",
        b"[]\n",
        b"{}\n",
        b"{}\n" * 100,
        b'{"QMP"',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"x" * MAX_LINE * 2,
    ],
)
async def test_what_is_no_greeting_is_refused(pair: Pair, words: bytes) -> None:
    ours, _, writer = pair
    writer.write(words)
    writer.write_eof()
    with pytest.raises(MachineError):
        await Qmp.open(ours, lambda _: None)


@pytest.mark.parametrize("words", [b"", b"garbage\n", b"y" * MAX_LINE * 2 + b"\n"])
async def test_waiting_commands_end_with_the_monitor(pair: Pair, words: bytes) -> None:
    _, reader, writer = pair
    qmp = await greeted(pair, [])
    asked = asyncio.create_task(qmp.execute("query-status"))
    await reader.readline()
    writer.write(words)
    writer.write_eof()
    with pytest.raises(MachineError):
        await asked
    await qmp.drained()
    await qmp.aclose()


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_parsing_gives_an_object_or_refuses(line: bytes) -> None:
    try:
        assert isinstance(parse_message(line), dict)
    except MachineError as error:
        assert "monitor" in error.brief  # noqa: PT017 - either way is right
