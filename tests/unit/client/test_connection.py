"""Answers of a server that lies: each is read within its bounds, or refused with what is wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.client.connection import (
    MAX_HEADERS,
    MAX_LINE,
    NobodyListens,
    Response,
    Wire,
    connect,
    exchange,
)
from monocore_core.errors import Corrupt, DeadlineExceeded, LimitExceeded, MonocoreError, Unreachable
from tests.unit.client.serving import serve_once

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def saying(*pieces: bytes, timeout: float | None = 10.0) -> Generator[Wire]:
    """A connection to a server that says this, piece by piece, and closes."""
    ours, theirs = socket.socketpair()

    def speak() -> None:
        with theirs:
            try:
                for piece in pieces:
                    theirs.sendall(piece)
            except OSError:  # nobody listens any more
                pass

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        with ours:
            yield Wire(ours, timeout)
    finally:
        speaker.join()


def answer(*pieces: bytes) -> bytes:
    with saying(*pieces) as wire:
        return Response(wire).read()


@given(st.lists(st.binary(min_size=1, max_size=70), max_size=8), st.integers(1, 40))
def test_a_chunked_body_however_it_comes(chunks: list[bytes], step: int) -> None:
    framed = b"".join(b"%x;note=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    sent = CHUNKED + framed + b"0\r\nTrailer: 1\r\n\r\n"
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    assert answer(*pieces) == b"".join(chunks)


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_a_counted_body_ends_where_it_says(body: bytes, more: bytes) -> None:
    assert answer(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body + more) == body


def test_other_framings() -> None:
    assert answer(OK + b"\r\nto the end") == b"to the end"
    assert answer(b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n") == b""
    assert answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\nx") == b"x"
    assert answer(OK.replace(b"\r", b"") + b"content-LENGTH:2\n\nab") == b"ab"


@given(st.binary(max_size=300))
def test_whatever_is_said_is_an_answer_or_an_error_of_ours(said: bytes) -> None:
    for start in (b"", OK, CHUNKED):
        with suppress(MonocoreError):
            answer(start + said)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", Unreachable),
        (b"HTTP/1.1 200", Unreachable),
        (b"SSH-2.0-x\r\n", Corrupt),
        (b"HTTP/1.1 20 OK\r\n\r\n", Corrupt),
        (b"HTTP/1.1 2\xb20 OK\r\n\r\n", Corrupt),
        (b"x" * (MAX_LINE + 300_000), LimitExceeded),
        (OK + b"no colon\r\n\r\n", Corrupt),
        (OK + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", LimitExceeded),
        (OK + b"Content-Length: -1\r\n\r\nx", Corrupt),
        (OK + b"Content-Length: 0x1\r\n\r\nx", Corrupt),
        (OK + b"Content-Length: " + b"9" * 17 + b"\r\n\r\nx", Corrupt),
        (OK + b"Content-Length: 5\r\n\r\nabc", Unreachable),
        (CHUNKED + b"5\r\nabc", Unreachable),
        (CHUNKED + b"2\r\nabcd\r\n", Corrupt),
        (CHUNKED + b"+2\r\nab\r\n0\r\n\r\n", Corrupt),
        (CHUNKED + b"\r\nab", Corrupt),
        (CHUNKED + b"2\r\nab\r\n", Unreachable),
    ],
)
def test_lies_are_told_from_answers(said: bytes, error: type[MonocoreError]) -> None:
    with pytest.raises(error):
        answer(said)


def test_a_body_that_is_too_large_is_not_kept() -> None:
    with saying(OK + b"\r\n", *[b"x" * 65536] * 64) as wire, pytest.raises(LimitExceeded):
        Response(wire).read(limit=1024 * 1024)


def test_lines_come_whole_and_are_bounded() -> None:
    with saying(OK + b"\r\n", b"one\ntw", b"o\n", b"\n  \nthree") as wire:
        assert list(Response(wire).lines()) == [b"one", b"two", b"three"]
    with saying(OK + b"\r\n", *[b"y" * 1000] * 20) as wire, pytest.raises(LimitExceeded):
        list(Response(wire).lines(limit=5000))


def test_a_server_that_is_silent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(DeadlineExceeded):
        Response(Wire(ours, 0.05))


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NobodyListens):
        connect(str(tmp_path / "none"))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    with pytest.raises(NobodyListens):
        connect(str(tmp_path / "left"))
    with pytest.raises(NobodyListens):
        connect(str(tmp_path / "no" / ("folder" * 20) / "s"))


def test_a_request_as_it_is_sent(tmp_path: Path) -> None:
    heard: list[bytes] = []
    server = serve_once(tmp_path / "s", OK + b"Content-Length: 2\r\n\r\nok", heard, b"{}")
    with exchange(str(tmp_path / "s"), "POST", "/v1/x?a=1", body=b"{}", headers={"X": "y"}) as response:
        assert (response.status, response.read()) == (200, b"ok")
    server.join()
    head, body = heard[0].split(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert (line, body) == (b"POST /v1/x?a=1 HTTP/1.1", b"{}")
    assert sorted(headers) == [b"Content-Length: 2", b"Host: monocore", b"X: y"]


def test_a_body_in_pieces_is_framed(tmp_path: Path) -> None:
    heard: list[bytes] = []
    server = serve_once(tmp_path / "s", OK + b"\r\n", heard, b"0\r\n\r\n")
    with exchange(str(tmp_path / "s"), "PUT", "/", body=iter([b"abc", b"", b"d" * 17])) as response:
        assert response.status == 200
    server.join()
    assert heard[0].endswith(b"\r\n\r\n3\r\nabc\r\n11\r\n" + b"d" * 17 + b"\r\n0\r\n\r\n")


def test_an_answer_before_the_end_of_the_body_is_read(tmp_path: Path) -> None:
    """As when the daemon refuses what it is sent: that it closes must not hide why."""
    server = serve_once(tmp_path / "s", b"HTTP/1.1 409 No\r\nContent-Length: 3\r\n\r\nwhy", [], b"\r\n\r\n")
    with exchange(str(tmp_path / "s"), "PUT", "/", body=(b"z" * 65536 for _ in range(500))) as response:
        assert response.status == 409
    server.join()
