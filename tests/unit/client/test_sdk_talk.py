"""What is said on a process's WebSocket: nothing is lost, nothing is believed that cannot be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.client.sdk import talk
from monocore_core.client.sdk.routes import Running
from monocore_core.client.sdk.values import Exit
from monocore_core.errors import CommandNotFound, Corrupt, InvalidInput, LimitExceeded, Unreachable


@given(st.lists(st.tuples(st.sampled_from([talk.OUT, talk.ERR]), st.binary(max_size=9))), st.integers(1, 20))
def test_every_byte_of_each_output_comes_in_order(pieces: list[tuple[int, bytes]], limit: int) -> None:
    heard = talk.Talk()
    for mark, data in pieces:
        heard.on_binary(bytes([mark]) + data)
    heard.on_text(b'{"exit": {"code": 3, "reason": "exited"}}')
    for mark in (talk.OUT, talk.ERR):
        found = b""
        while data := heard.take(mark, limit):
            assert len(data) <= limit
            found += data
        assert found == b"".join(data for one, data in pieces if one == mark)
    assert heard.ended() == Exit(3)


def test_output_is_given_before_an_error_is() -> None:
    heard = talk.Talk()
    heard.on_binary(b"\1rest")
    assert not heard.has(talk.ERR)
    heard.on_end()
    assert heard.take(talk.OUT, 10) == b"rest"
    with pytest.raises(Unreachable):
        heard.take(talk.OUT, 10)
    with pytest.raises(Unreachable):
        heard.ended()


def test_an_error_is_ours_and_its_end_adds_nothing() -> None:
    heard = talk.Talk()
    heard.on_text(json.dumps({"error": {"title": "CommandNotFound", "detail": "no x"}}).encode())
    heard.on_end()
    with pytest.raises(CommandNotFound, match="no x"):
        heard.begun()


@pytest.mark.parametrize("data", [b"", b"\0x", b"\3", b"\xff"])
def test_a_message_of_no_output_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        talk.Talk().on_binary(data)


def test_what_is_not_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "MAX_KEPT", 10)
    heard = talk.Talk()
    heard.on_binary(b"\x01" + bytes(10))
    with pytest.raises(LimitExceeded, match="standard output"):
        heard.on_binary(b"\1x")


def test_a_command_is_sent_as_the_daemon_takes_it() -> None:
    running = Running.of(("a", "b"), {"X": "1"}, "/w", "u")
    assert json.loads(talk.first_of_exec(running, stdin=True, terminal=(3, 4))) == {
        "command": {
            "args": ["a", "b"],
            "entrypoint": [],
            "env": ["X=1"],
            "cwd": "/w",
            "user": "u",
            "stdin": True,
            "terminal": {"rows": 3, "columns": 4},
        }
    }
    with pytest.raises(InvalidInput):
        Running.of((), None, "", "")
