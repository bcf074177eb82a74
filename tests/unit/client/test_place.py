"""Where the daemon is: the flag, the environment, the file and the default, in this order; the same home as the settings have."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from monocore_core.client.daemon import place_of
from monocore_core.client.starting import LOG, ensure
from monocore_core.config.load import load_settings
from monocore_core.errors import ConfigError, MachineError, NotFound, StorageError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        ("", {}),
        ('home = "there"', {}),
        ('home = "/absolute"', {}),
        ('home = "~/mine"\n[daemon]\nsocket = "s"', {}),
        ('home = "there"', {"MONOCORE_HOME": "relative"}),
        ("", {"MONOCORE_HOME": "/named"}),
    ],
)
@pytest.mark.parametrize("flag", [None, "flagged"])
def test_the_home_is_that_of_the_settings(
    toml: str, environ: dict[str, str], flag: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cwd/monocore.toml", toml)
    monkeypatch.chdir(tmp_path / "cwd")
    cwd, variables = tmp_path / "cwd", {"HOME": str(tmp_path), **environ}
    place = place_of(home=flag, config=None, environ=variables, cwd=str(cwd))
    home = Path(place.home)
    assert home.is_absolute()
    overrides = {} if flag is None else {"MONOCORE_HOME": str(cwd / flag)}
    assert home == load_settings(environ={**variables, **overrides}, cwd=cwd).home
    assert Path(place.socket) == home / ("s" if "socket" in toml else "monocore.sock")
    assert place.config == (str(cwd / "monocore.toml") if toml else None)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        place_of(home=None, config=str(tmp_path / "none"), environ={}, cwd=str(tmp_path))
    for text in ("home = ", "home = " + "[" * 5000):
        with pytest.raises(ConfigError):
            place_of(home=None, config=str(write(tmp_path / "x.toml", text)), environ={}, cwd=str(tmp_path))


def test_a_file_that_says_nothing_of_it_is_not_even_parsed(tmp_path: Path) -> None:
    known = {"HOME": str(tmp_path)}
    for text, home in (
        ("[pool]\nsize = 0", tmp_path / ".monocore"),
        ("[pool\n", tmp_path / ".monocore"),
        ('"h\\u006fme" = "there"', tmp_path / "there"),
        ('"\\U00000068ome" = "there"', tmp_path / "there"),
    ):
        file = write(tmp_path / "x.toml", text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(tmp_path))
            place = place_of(home=None, config=str(file), environ=known, cwd=str(tmp_path))
        assert Path(place.home) == home


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Let a program stand for Python when a daemon is started; gives the home."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("script", "kind", "brief"),
    [
        (
            """echo '{"title": "StorageError", "detail": "full"}' > /proc/self/fd/$MONOCORE_READY_FD""",
            StorageError,
            "^full$",
        ),
        ("echo 'monocore: error: bad luck' >&2; exit 1", MachineError, "did not start: bad luck"),
        ("exit 1", MachineError, "did not start$"),
        (
            "echo later >&2; echo nonsense > /proc/self/fd/$MONOCORE_READY_FD",
            MachineError,
            "did not start: later",
        ),
        ("head -c 200000 /dev/zero > /proc/self/fd/$MONOCORE_READY_FD", MachineError, "did not start$"),
    ],
)
def test_what_a_daemon_says_instead_of_being_ready(
    script: str, kind: type[Exception], brief: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fake(tmp_path, monkeypatch, script)
    place = place_of(home=str(home), config=None, environ={}, cwd=str(tmp_path))
    with pytest.raises(kind, match=brief):
        ensure(place, os.environ)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / LOG).stat().st_mode) == 0o600


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = place_of(home=str(tmp_path / "file/home"), config=None, environ={}, cwd=str(tmp_path))
    with pytest.raises(StorageError, match="home folder"):
        ensure(place, os.environ)
