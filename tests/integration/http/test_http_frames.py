"""Clients that do not keep to the framing of WebSockets, chunks and lines: refused or cut off, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import os
import socket as sockets
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monocore_core.client.api import Api, target
from monocore_core.client.tables import tables

pytestmark = [pytest.mark.integration, pytest.mark.slow]
#: Seconds within which a daemon that has an answer gives it, and in which what was begun ends.
SOON, LATER = 0.05, 60.0
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_OFTEN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: Text messages that are right, or nearly.
RIGHT: list[dict[str, object]] = [
    {"command": {"args": ["cat"]}, "stdin": True},
    {"command": {"args": ["cat"]}},
    {"command": {"args": []}},
    {"command": "cat"},
    {"stdin": True},
    {"order": {"sandbox": {"image": "no/such"}, "command": {"args": ["true"]}}},
    {"order": {}},
    {"resize": [24, 80]},
    {"resize": [0, -1]},
    {"signal": "TERM"},
    {"signal": 10**30},
    {"detach": True},
    {"detach": 1},
]
#: What one may say: those, and anything.
WORDS = st.one_of(
    st.sampled_from(RIGHT).map(json.dumps),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps),
    st.just("[" * 5000),
    st.text(max_size=50),
).map(lambda text: text.encode("utf-8", "surrogatepass"))


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """RFC 6455, 5.2."""
    head = bytes([fin << 7 | reserved << 4 | opcode])
    length = len(payload)
    if length < 126:
        head += bytes([masked << 7 | length])
    elif length < 65536:
        head += bytes([masked << 7 | 126]) + struct.pack(">H", length)
    else:
        head += bytes([masked << 7 | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    mask = b"\x01\x02\x03\x04"
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


FRAMES = st.one_of(
    WORDS.map(lambda text: frame(1, text)),
    st.binary(max_size=300).map(lambda data: frame(2, b"\0" + data)),
    st.builds(
        frame,
        st.integers(0, 15),
        st.binary(max_size=200) | WORDS,
        fin=st.booleans(),
        reserved=st.integers(0, 7),
        masked=st.booleans(),
    ),
    st.binary(max_size=40),
    st.just(bytes([0x82, 0xFF]) + b"\x7f" + b"\xff" * 7),  # a message of 2**63 bytes is announced
    st.just(frame(8, b"")),
)


def connected(path: Path) -> sockets.socket:
    client = sockets.socket(sockets.AF_UNIX)
    client.settimeout(LATER)
    client.connect(os.fspath(path))
    return client


def said(client: sockets.socket, seconds: float) -> bytes:
    """What comes until nothing does for so long, or the end."""
    client.settimeout(seconds)
    found = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while data := client.recv(65536):
            found += data
    return found


def test_frames_that_are_none_end_their_own_connection(api: Api, socket: Path, sandbox: str) -> None:
    """And leave no command of theirs."""
    where = [target("sandboxes", sandbox, word) for word in ("exec", "attach")] + [target("run")]

    @_OFTEN
    @given(st.sampled_from(where), WORDS, st.lists(FRAMES, max_size=6), st.booleans())
    def attack(path: str, first: bytes, frames: list[bytes], listens: bool) -> None:
        with connected(socket) as client:
            upgrade = (
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            client.sendall(upgrade.encode())
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                assert data, head
                head += data
            assert head.startswith(b"HTTP/1.1 101 "), head
            with contextlib.suppress(ConnectionError):
                client.sendall(frame(1, first) + b"".join(frames))
            if listens:
                assert b"Traceback" not in said(client, SOON)
        assert api.call("GET", target("info"))

    attack()
    deadline = time.monotonic() + LATER
    while True:
        processes = tables(api.call("GET", target("sandboxes", sandbox, "top")), "processes")
        if not any("cat" in str(one) for one in processes):
            break
        assert time.monotonic() < deadline, processes
        time.sleep(0.1)
    assert not [
        one for one in tables(api.call("GET", target("sandboxes")), "sandboxes") if one["name"] != sandbox
    ]


def test_bodies_of_what_answers_in_lines_are_answered_in_lines_or_refused(
    api: Api, socket: Path, sandbox: str
) -> None:
    """Chunks that are none, lengths that lie, tables that say nothing: never a status of 500, and every line is a table."""
    stream = target("sandboxes", sandbox, "exec", stream=True)
    good = [
        (stream, json.dumps({"command": ["echo", "x"]}).encode()),
        (target("images", "pull"), json.dumps({"image": "127.0.0.1:1/none"}).encode()),
        (target("projects", "up"), json.dumps({"document": {}}).encode()),
        (target("projects", "nobody", "down"), json.dumps({"services": "x"}).encode()),
    ]
    paths, bodies = ([pair[place] for pair in good] for place in (0, 1))
    sizes = st.none() | st.integers(-1, 400) | st.text("0123456789abcdefxz;= ", max_size=9)
    statuses = set[int]()

    @_OFTEN
    @given(
        st.sampled_from(good) | st.tuples(st.sampled_from(paths), WORDS | st.sampled_from(bodies)),
        sizes,
        st.booleans(),
    )
    @example((stream, bodies[0]), None, True)  # noqa: FBT003 - as hypothesis gives them
    def attack(request: tuple[str, bytes], size: int | str | None, whole: bool) -> None:
        path, body = request
        length = f"{len(body):x}" if size is None else f"{size:x}" if isinstance(size, int) else size
        with connected(socket) as client:
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"
            )
            with contextlib.suppress(ConnectionError):
                client.sendall(head.encode() + length.encode() + b"\r\n" + body + b"\r\n")
                if whole:
                    client.sendall(b"0\r\n\r\n")
            answer = said(client, 4 * SOON)
        if not answer:
            return  # cut off, or more is waited for
        status = int(answer.split(b" ", 2)[1])
        statuses.add(status)
        assert 200 <= status < 500, answer
        if status == 200 and b"ndjson" in answer:
            _, _, rest = answer.partition(b"\r\n\r\n")
            for line in rest.split(b"\n"):
                if line.strip().startswith(b"{"):
                    assert isinstance(json.loads(line), dict)

    attack()
    assert api.call("GET", target("info"))
    assert {200, 400} <= statuses
