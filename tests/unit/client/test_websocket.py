"""Frames, as RFC 6455 has them, and as no server may send them."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.client.connection import Response, Wire
from monocore_core.client.websocket import (
    BINARY,
    CLOSE,
    CONTINUED,
    MAX_CONTROL,
    PING,
    PONG,
    TEXT,
    Message,
    Reader,
    WebSocket,
    head,
    upgrade,
)
from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError
from tests.unit.client.serving import serve_once


def frame(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    """A server's: not masked."""
    size = len(payload)
    first = kind | (0x80 if final else 0)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def read(data: bytes, step: int = 1 << 20, limit: int = 1 << 20) -> list[Message]:
    reader = Reader(limit)
    found: list[Message] = []
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        found += reader.messages()
    return found


MESSAGES = st.tuples(
    st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=200), min_size=1, max_size=4)
)


@given(st.lists(MESSAGES, max_size=4), st.integers(1, 50), st.booleans())
def test_messages_however_they_are_cut(
    messages: list[tuple[int, list[bytes]]], step: int, pinged: bool
) -> None:
    sent = b""
    for kind, parts in messages:
        for number, part in enumerate(parts):
            sent += frame(CONTINUED if number else kind, part, final=number == len(parts) - 1)
            sent += frame(PING, b"p") if pinged else b""
    found = read(sent, step)
    assert [one for one in found if one[0] != PING] == [(kind, b"".join(parts)) for kind, parts in messages]
    assert found.count((PING, b"p")) == (sum(len(parts) for _, parts in messages) if pinged else 0)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 70000])
def test_every_form_of_a_length(size: int) -> None:
    assert read(frame(BINARY, b"z" * size), 9000) == [(BINARY, b"z" * size)]
    beginning = head(BINARY, size)
    assert beginning[0] == 0x80 | BINARY
    assert beginning[1] & 0x80  # what a client sends is masked
    assert beginning[-4:] == bytes(4)
    assert len(beginning) == 6 + (0 if size < 126 else 2 if size < 65536 else 8)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (frame(CONTINUED, b"x"), Corrupt),
        (frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), Corrupt),
        (frame(TEXT, b"", final=False) + frame(BINARY, b"y"), Corrupt),
        (bytes([0xC1, 0]), Corrupt),
        (bytes([0x83, 0]), Corrupt),
        (bytes([0x81, 0x80, 0, 0, 0, 0]), Corrupt),
        (frame(PING, b"", final=False), Corrupt),
        (frame(PING, b"x" * (MAX_CONTROL + 1)), Corrupt),
        (struct.pack("!BBQ", 0x82, 127, 1 << 62), LimitExceeded),
        (struct.pack("!BBH", 0x82, 126, 1001), LimitExceeded),
        (frame(BINARY, b"x" * 600, final=False) + frame(CONTINUED, b"x" * 600), LimitExceeded),
    ],
)
def test_what_no_server_may_send(sent: bytes, error: type[MonocoreError]) -> None:
    with pytest.raises(error):
        read(sent, limit=1000)


@given(st.binary(max_size=100))
def test_noise_is_messages_or_an_error_of_ours(noise: bytes) -> None:
    with contextlib.suppress(MonocoreError):
        read(noise, 3, 1000)


def pair() -> tuple[WebSocket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    return WebSocket(Wire(ours)), theirs


def test_a_ping_is_answered_and_a_goodbye_returned() -> None:
    ours, theirs = pair()
    with theirs:
        theirs.sendall(
            frame(PING, b"now") + frame(TEXT, b"{}") + frame(CLOSE, struct.pack("!H", 1000) + b"bye")
        )
        assert ours.receive() == [(TEXT, b"{}")]
        assert ours.ended
        assert theirs.recv(100) == head(PONG, 3) + b"now" + head(CLOSE, 2) + struct.pack("!H", 1000)
        ours.send(TEXT, b"late")
        ours.close()
        ours.close()
        assert theirs.recv(100) == b""


def test_what_came_with_the_handshake_is_not_lost() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"first line\n" + frame(BINARY, b"early"))
        wire = Wire(ours)
        assert wire.line() == b"first line"
        opened = WebSocket(wire)
        assert opened.receive() == [(BINARY, b"early")]
        opened.close()


def test_a_server_that_takes_nothing_is_not_waited_for() -> None:
    ours, theirs = pair()
    part = b"q" * 65536
    with theirs:
        for _ in range(64):
            ours.send(BINARY, part)
        waits = ours.pending
        assert waits > 0
        got = bytearray()
        whole = 64 * (len(head(BINARY, len(part))) + len(part))
        while len(got) < whole:
            got += theirs.recv(1 << 20)
            ours.flush()
        assert ours.pending == 0
        assert bytes(got) == (head(BINARY, len(part)) + part) * 64
        ours.close()


def test_a_server_that_is_gone_ends_it() -> None:
    ours, theirs = pair()
    theirs.close()
    ours.send(TEXT, b"x")
    assert ours.receive() == []
    assert ours.ended
    assert ours.pending == 0
    ours.close()


ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %b\r\n\r\n"


def test_the_handshake(tmp_path: Path) -> None:
    heard: list[bytes] = []
    said = ACCEPTED % b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=" + frame(TEXT, b"hello")
    server = serve_once(tmp_path / "s", said, heard, b"\r\n\r\n")
    opened = upgrade(str(tmp_path / "s"), "/v1/run", 10)
    server.join()
    assert isinstance(opened, WebSocket)
    assert opened.receive() == [(TEXT, b"hello")]
    opened.close()
    assert heard[0].startswith(b"GET /v1/run HTTP/1.1\r\n")
    assert b"Upgrade: websocket\r\n" in heard[0]


def test_a_server_that_refuses_or_knows_no_websockets(tmp_path: Path) -> None:
    server = serve_once(tmp_path / "a", b"HTTP/1.1 404 No\r\n\r\nwhy", [], b"\r\n\r\n")
    refused = upgrade(str(tmp_path / "a"), "/", 10)
    server.join()
    assert isinstance(refused, Response)
    with refused:
        assert (refused.status, refused.read()) == (404, b"why")
    server = serve_once(tmp_path / "b", ACCEPTED % b"AAAA", [], b"\r\n\r\n")
    with pytest.raises(Corrupt):
        upgrade(str(tmp_path / "b"), "/", 10)
    server.join()
