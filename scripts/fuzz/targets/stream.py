"""What a daemon answers its clients: HTTP, lines of JSON, WebSocket frames, and what is said of a process on one."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

from monocore_core.client.connection import Response, Wire
from monocore_core.client.sdk.talk import Talk
from monocore_core.client.tables import parse_table
from monocore_core.client.websocket import BINARY, CLOSE, CONTINUED, PING, TEXT, Reader, head
from scripts.fuzz.target import Taken, Target, refusals

_LIMIT = 2000


def run(data: bytes) -> None:
    """A byte for what it is, one for how it is cut into pieces, and the bytes."""
    taken = Taken(data)
    kind, piece = taken.byte() % 3, 1 + taken.byte()
    body = taken.rest()
    with refusals():
        if kind == 0:
            _socket(body, piece)
        elif kind == 1:
            _answer(body)
        else:
            _talk(Taken(body))


def _socket(body: bytes, piece: int) -> None:
    reader = Reader(_LIMIT)
    for at in range(0, len(body), piece):
        reader.feed(body[at : at + piece])
        for kind, payload in reader.messages():
            assert len(payload) <= _LIMIT
            assert kind in (TEXT, BINARY, CLOSE, PING, 10)
            assert len(head(kind, len(payload))) <= 14


def _answer(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(body)
        theirs.shutdown(socket.SHUT_WR)
        with Response(Wire(ours, 5)) as answer:
            if answer.headers.get("content-type") == "application/x-ndjson":
                for line in answer.lines(_LIMIT):
                    parse_table(line)
            else:
                assert len(answer.read(_LIMIT)) <= _LIMIT


def _talk(taken: Taken) -> None:
    talk = Talk()
    while taken.left and not talk.over:
        binary, payload = taken.byte() & 1, taken.part(taken.number())
        if binary:
            talk.on_binary(payload)
        else:
            talk.on_text(payload)
        for mark in (1, 2):
            if talk.has(mark):
                talk.take(mark, 10)
    talk.on_end()
    assert talk.over
    talk.ended()


def _message(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    first = (0x80 if final else 0) | kind
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def seeds() -> Iterator[bytes]:
    """What a daemon sends, and what it does not."""
    words = (
        _message(TEXT, b"{}") + _message(BINARY, b"\1out") + _message(PING, b"") + _message(CLOSE, b"\3\xe8")
    )
    parts = (
        _message(TEXT, b"a", final=False) + _message(CONTINUED, b"b", final=False) + _message(CONTINUED, b"c")
    )
    for piece in (0, 255):
        for frames in (words, parts, _message(BINARY, bytes(200)), _message(BINARY, bytes(3000))):
            yield bytes([0, piece]) + frames
    for wrong in (
        b"\x91\0",
        b"\x81\x80",
        b"\x83\0",
        b"\x08\0",
        b"\x89\x7e\1\0",
        b"\x80\0",
        parts[:3] + words,
        b"\x82\x7f" + b"\xff" * 8,
        _message(TEXT, bytes(1500), final=False) + _message(CONTINUED, bytes(1500)),
    ):
        yield b"\0\xff" + wrong
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{}\n\n{"a":1}',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n" + b"x" * 3000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 130 + b"\r\n",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 2x0 OK\r\n",
        b"HTTP/1.1 200",
        b"",
    ):
        yield b"\1\0" + answer
    said = [
        (0, {"started": {"id": "x", "name": "y"}}),
        (1, b"\1out"),
        (1, b"\2"),
        (0, {"exit": {"code": 3, "signal": 0, "oom": False}}),
    ]
    yield b"\2\0" + b"".join(_said(binary, what) for binary, what in said)
    for binary, what in (
        (0, {"error": {"detail": "no", "status": 404, "type": "not-found"}}),
        (0, {"error": 3}),
        (0, {"exit": {"code": "x"}}),
        (0, {}),
        (0, b"["),
        (1, b""),
        (1, b"\7x"),
    ):
        yield b"\2\0" + _said(binary, what)


def _said(binary: int, what: object) -> bytes:
    payload = what if isinstance(what, bytes) else json.dumps(what).encode()
    return struct.pack("<BH", binary, len(payload)) + payload


TARGET = Target(
    "stream",
    "a daemon's answers",
    run,
    seeds,
    ("monocore_core.client.websocket", "monocore_core.client.connection", "monocore_core.client.sdk.talk"),
    aside=(
        "WebSocket.*",
        "_explained",
        "_opened",
        "_send_chunks",
        "_short",
        "_unconnected",
        "_unreached",
        "certificate_refused",
        "closed_early",
        "connect*",
        "exchange",
        "first_of_*",
        "upgrade",
    ),
    longest=4000,
)
