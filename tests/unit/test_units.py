"""The units of systemd: they are well-formed, and say what keeps sandboxes alive."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monocore_core.cli.globals import Globals
from monocore_core.cli.serve import main as serve
from monocore_core.client.daemon import DEFAULT_HOME, SOCKET

UNITS = Path(__file__).parents[2] / "contrib/systemd"
KINDS = ("user", "system")


def settings(unit: Path) -> dict[str, list[str]]:
    """The settings of a unit by name; some are there more than once."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_systemd_takes_them(kind: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this host has no systemd")
    ended = subprocess.run(
        [
            "systemd-analyze",
            f"--{kind}",
            "--man=no",
            "verify",
            *map(str, sorted((UNITS / kind).iterdir())),
        ],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("kind", KINDS)
def test_sandboxes_outlive_the_service(kind: str) -> None:
    found = settings(UNITS / kind / "monocore.service")
    assert found["KillMode"] == ["process"]
    assert found["OOMPolicy"] == ["continue"]
    assert found["Delegate"] == ["yes"]


@pytest.mark.parametrize("kind", KINDS)
def test_service_and_socket_agree_with_the_command_line(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = settings(UNITS / kind / "monocore.service")["ExecStart"][0].split()
    assert words[:3] == ["/usr/bin/env", "monocore", "serve"]
    with pytest.raises(SystemExit):
        serve(["--help"], Globals())
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {word for word in words if word.startswith("--")} <= known
    home = words[words.index("--home") + 1]
    assert home == {"user": DEFAULT_HOME.replace("~", "%h"), "system": "%S/monocore"}[kind]
    socket = settings(UNITS / kind / "monocore.socket")
    assert socket["ListenStream"] == [f"{home.replace('%S', '/var/lib')}/{SOCKET}"]
    assert (socket["SocketMode"], socket["DirectoryMode"]) == (["0600"], ["0700"])
