"""What the daemon tells whoever started it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from monocore_core.errors import Conflict
from monocore_core.server.starter import NOTIFY_VARIABLE, READY_VARIABLE, readiness


def heard(listener: socket.socket) -> list[str]:
    """What has come, without waiting."""
    found: list[str] = []
    try:
        while True:
            found.append(listener.recv(4096, socket.MSG_DONTWAIT).decode())
    except BlockingIOError:
        return found


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_and_a_client_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@monocore-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, os.fdopen(reader, "rb") as pipe:
        listener.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv(NOTIFY_VARIABLE, name)
        monkeypatch.setenv(READY_VARIABLE, str(writer))
        with readiness() as ready:
            assert NOTIFY_VARIABLE not in os.environ
            assert READY_VARIABLE not in os.environ
            ready.ready()
            assert heard(listener) == ["READY=1"]
            ready.ending()
        assert heard(listener) == ["STOPPING=1"]
        assert pipe.read() == b"ready\n"


def test_a_problem_is_told_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(READY_VARIABLE, str(writer))
    monkeypatch.setenv(NOTIFY_VARIABLE, str(tmp_path / "nobody"))
    with os.fdopen(reader, "rb") as pipe:
        with pytest.raises(Conflict), readiness():
            raise Conflict("another daemon has it", hint="end that")
        said = json.loads(pipe.read())
    assert (said["title"], said["detail"], said["hint"]) == ("Conflict", "another daemon has it", "end that")
