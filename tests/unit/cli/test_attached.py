"""Attending a command: what of its output is shown, to whom."""

from __future__ import annotations

import json
import socket
import struct
import threading

import pytest

from monocore_core.cli.attached import Detached, Exited, Wishes, attend
from monocore_core.client.connection import Wire
from monocore_core.client.websocket import BINARY, TEXT, WebSocket
from tests.unit.client.test_websocket import frame

OUTPUT = frame(BINARY, b"\x01from the command\n")
STARTED = frame(TEXT, json.dumps({"started": {"id": "c0ffee", "name": "quick"}}).encode())
EXIT = frame(TEXT, json.dumps({"exit": {"code": 0, "reason": "exited"}}).encode())


def writers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "output-1"}


@pytest.mark.parametrize("leave", [True, False])
def test_who_leaves_at_once_sees_no_output(leave: bool, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A command that speaks at once does so in the same bytes as word of its start."""
    before = writers()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(STARTED + OUTPUT + (b"" if leave else EXIT))
        if leave:  # the daemon's answer to the goodbye, which comes after more output

            def answer() -> None:
                theirs.recv(4096)
                theirs.sendall(OUTPUT + frame(8, struct.pack("!H", 1000)))

            threading.Timer(0.1, answer).start()
        ending = attend(WebSocket(Wire(ours)), Wishes(stdin=False, terminal=False, leave=leave))
    assert isinstance(ending, Detached if leave else Exited)
    assert bool(writers() - before) is not leave  # one that writes would do so after the end
    assert capfdbinary.readouterr().out == (b"" if leave else b"from the command\n")
