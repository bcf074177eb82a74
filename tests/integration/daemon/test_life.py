"""The daemon itself: who may reach it, that there is one, how it ends, and that what runs outlives it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.commandline import ARGV
from tests.integration.daemon.conftest import Home
from tests.integration.screen import LIMIT

pytestmark = [pytest.mark.integration, pytest.mark.slow]
#: Become a program that is given a socket.
_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Home]:
    """A home in which nothing is."""
    home = Home(tmp_path / "home")
    yield home
    home.close()


def pid_of(home: Home) -> int:
    found: int = json.loads(home.out("info", "--json"))["pid"]
    return found


def alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_commands_at_once_start_one_daemon_that_its_owner_alone_reaches(empty: Home) -> None:
    with ThreadPoolExecutor(5) as pool:
        pids = set(pool.map(pid_of, [empty] * 5))
    assert len(pids) == 1
    assert stat.S_IMODE((empty.path / "monocore.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(empty.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((empty.path / "daemon.log").stat().st_mode) == 0o600

    refused = subprocess.run(
        [*ARGV, "serve"], env=empty.environ, capture_output=True, timeout=LIMIT, check=False
    )
    assert refused.returncode == 125
    assert f"process {pids.pop()}".encode() in refused.stderr


@pytest.mark.root
@pytest.mark.needs("/usr/bin/python3", "python3")
def test_another_user_does_not_reach_it(empty: Home) -> None:
    pid_of(empty)
    os.chmod(empty.path, 0o711)  # noqa: PTH101 - so that the socket's own mode is what is asked
    here = os.open(empty.path, os.O_RDONLY)
    script = f"import socket; socket.socket(socket.AF_UNIX).connect('/proc/self/fd/{here}/monocore.sock')"
    try:
        ended = subprocess.run(
            ["/usr/bin/python3", "-c", script],
            user=65534,
            group=65534,
            extra_groups=[],
            pass_fds=(here,),
            capture_output=True,
            check=False,
        )
    finally:
        os.close(here)
        empty.path.chmod(0o700)
    assert b"PermissionError" in ended.stderr


def test_without_anything_to_do_it_ends(tmp_path: Path, until: Until) -> None:
    home = Home(tmp_path / "home")
    with home.start("serve", "--idle-exit", "500ms") as daemon:
        until(lambda: home.run("serve", "--status").returncode == 0)
        assert daemon.wait(LIMIT) == 0
    assert home.run("serve", "--status").returncode == 1
    assert not (home.path / "monocore.sock").exists()


def test_the_socket_may_come_from_systemd(tmp_path: Path) -> None:
    """As sd_listen_fds(3) says: descriptor 3, for the process of that number."""
    home = Home(tmp_path / "home")
    home.path.mkdir(0o700)
    (home.path / "monocore.toml").write_text('home = "."\n')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.path / "monocore.sock"))
        listener.listen()
        words = [sys.executable, "-c", _ACTIVATE, str(listener.fileno()), *ARGV, "serve"]
        with subprocess.Popen(words, env=home.environ, pass_fds=(listener.fileno(),)) as daemon:
            try:
                assert pid_of(home) == daemon.pid
                flags = re.search(r"flags:\s+(\d+)", Path("/proc", str(daemon.pid), "fdinfo/3").read_text())
                assert flags is not None
                assert int(flags[1], 8) & os.O_CLOEXEC  # no VMM is to have it
            finally:
                daemon.terminate()
            assert daemon.wait(LIMIT) == 0
    assert (home.path / "monocore.sock").exists()  # systemd's to remove


def test_what_runs_outlives_the_daemons_crash_and_its_replacement(home: Home, until: Until) -> None:
    script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"
    home.out("run", "-d", "--name", "counter", "-m", "96m", home.image, "sh", "-c", script)
    machine = json.loads(home.out("inspect", "counter"))[0]["pid"]
    try:
        first = pid_of(home)
        os.kill(first, signal.SIGKILL)
        until(lambda: not alive(first))
        second = pid_of(home)
        assert second != first
        assert home.out("exec", "counter", "echo", "here") == "here\n"

        with home.start("serve", "--replace") as third:
            until(lambda: not alive(second))
            until(lambda: home.run("serve", "--status").returncode == 0)
            assert pid_of(home) == third.pid
            third.terminate()
            assert third.wait(LIMIT) == 0

        found = json.loads(home.out("inspect", "counter"))[0]
        assert (found["pid"], found["runs"], found["state"]) == (machine, 1, "running")
        lines = [int(line.split()[1]) for line in home.out("logs", "counter").splitlines()]
        assert lines == list(range(1, len(lines) + 1))
        before = len(lines)
        until(lambda: len(home.out("logs", "counter").splitlines()) > before)
    finally:
        home.out("rm", "-f", "counter")
    assert not alive(machine)


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir(0o700)
    (home.path / "state.db").write_bytes(b"this is no database" * 100)
    refused = home.run("ps")
    assert refused.returncode == 125
    assert re.match(rb"monocore: error: .*state", refused.stderr)
    assert len(refused.stderr.splitlines()) <= 3
