"""Requests to a daemon that is just ending: what it has not read the next one is asked, and what it has read nobody is asked twice."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from monocore_core.client import api as module
from monocore_core.client.api import Api
from monocore_core.client.connection import NotTaken
from monocore_core.client.tables import Table
from monocore_core.errors import Unreachable
from tests.unit.client.serving import serve_once

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'
Ask = Callable[[Api], Table]


def dying(path: Path, *, reads: bool) -> threading.Thread:
    """A server that takes one connection and ends, having read what was sent, or not."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as one:
            if reads:
                one.recv(65536)
            else:
                one.recv(65536, socket.MSG_PEEK)
            path.unlink()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def call(api: Api) -> Table:
    return api.call("POST", "/v1/x", {"some": "thing"})


def pieces(api: Api) -> Table:
    def sent() -> Iterable[bytes]:
        yield b"piece"

    with api.open("PUT", "/v1/x", sent()) as answer:
        answer.read()
    return {}


def test_what_was_not_read_the_next_one_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = dying(path, reads=False)
    heard: list[bytes] = []
    servers: list[threading.Thread] = []

    def again() -> None:
        if not servers:
            servers.append(serve_once(path, ANSWER, heard, b"}"))

    assert call(Api(os.fspath(path), again=again)) == {"a": 1}
    for thread in (first, *servers):
        thread.join()
    assert [one.split(b"\r\n")[0] for one in heard] == [b"POST /v1/x HTTP/1.1"]


@pytest.mark.parametrize(("ask", "reads"), [(call, True), (pieces, True), (pieces, False)])
def test_what_was_read_or_is_gone_is_not_sent_again(tmp_path: Path, ask: Ask, *, reads: bool) -> None:
    path = tmp_path / "socket"
    first = dying(path, reads=reads)
    with pytest.raises(Unreachable):
        ask(Api(os.fspath(path), again=lambda: pytest.fail("it was asked again")))
    first.join()


def test_one_that_does_not_come_to_an_end_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING", 0.2)
    servers: list[threading.Thread] = []

    def again() -> None:
        servers.append(dying(tmp_path / "socket", reads=False))
        assert len(servers) < 50

    again()
    with pytest.raises(NotTaken, match="was lost"):
        call(Api(os.fspath(tmp_path / "socket"), again=again))
    assert len(servers) > 1
    for thread in servers[:-1]:
        thread.join()
    with socket.socket(socket.AF_UNIX) as last:  # for the server that was made last, if nobody has come to it
        if (tmp_path / "socket").exists():
            last.connect(os.fspath(tmp_path / "socket"))
            last.sendall(b"end")
        servers[-1].join()
