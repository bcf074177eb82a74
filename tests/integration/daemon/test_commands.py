"""``ps``, ``logs``, ``exec``, ``cp`` and the others, as a person uses them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import stat
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.daemon.conftest import Home
from tests.integration.screen import LIMIT, Screen

pytestmark = [pytest.mark.integration, pytest.mark.slow]
COUNTING = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"


def test_the_whole_life_of_a_detached_sandbox(home: Home) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo begun; echo bad >&2; sleep 100000 & wait"
    words = ("--name", "life", "-l", "kind=test", "-m", "96m", home.image, "sh", "-c", script)
    identity = home.out("run", "-d", *words).strip()
    assert len(identity) == 12
    again = home.run("run", "-d", *words)
    assert again.returncode == 125
    assert b"life" in again.stderr

    listed = home.out("ps")
    assert identity in listed
    assert "life" in listed
    assert home.out("ps", "-q", "--filter", "label=kind=test").split() == [identity]
    assert home.out("ps", "-q", "--filter", "label=kind=other") == ""
    found = json.loads(home.out("inspect", "life"))[0]
    assert (found["id"], found["state"], found["runs"]) == (identity, "running", 1)
    assert Path("/proc", str(found["pid"])).exists()

    with home.start("logs", "-f", "-t", "life") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().split()[1] == b"begun"
        assert home.out("stop", "life").strip() == "life"
        rest, err = follower.communicate(timeout=LIMIT)
    assert rest.split()[-1] == b"bye"
    assert err.split()[-1] == b"bad"
    assert follower.returncode == 0

    assert home.out("wait", "life").split() == ["3"]
    assert home.out("ps", "-q") == ""
    assert home.out("ps", "-a", "-q").split() == [identity]
    end = json.loads(home.out("inspect", identity[:6]))[0]["end"]
    assert (end["code"], end["reason"]) == (3, "killed")
    assert home.out("logs", "--tail", "1", "life") == "bye\n"

    home.out("start", "life")
    assert json.loads(home.out("inspect", "life"))[0]["runs"] == 2
    refused = home.run("rm", "life")
    assert refused.returncode == 1
    assert b"-f" in refused.stderr
    assert home.out("rm", "-f", "life").strip() == "life"
    assert home.out("ps", "-a", "-q") == ""
    assert home.run("inspect", "life").returncode == 1


def test_the_status_and_the_streams_of_an_attached_command(home: Home) -> None:
    """Sixteen MiB in and out, byte for byte, over the daemon."""
    data = random.Random(5).randbytes(16 * 1024 * 1024 + 99)
    script = "tee /proc/self/fd/2 | sha256sum; exit 7"
    ended = home.run("run", "--rm", "-i", home.image, "sh", "-c", script, stdin=data)
    assert ended.returncode == 7, ended.stderr[-300:]
    assert ended.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert hashlib.sha256(ended.stderr).digest() == hashlib.sha256(data).digest()
    for words, status in ((("no-such",), 127), (("/etc/passwd",), 126), (("sh", "-c", "kill -9 $$"), 137)):
        assert home.run("run", "--rm", home.image, *words).returncode == status
    assert home.run("run", "--rm", "--pull", "never", "localhost:1/none", "true").returncode == 125
    assert home.out("ps", "-a", "-q") == ""


def test_exec_and_its_flags(home: Home, sandbox: str) -> None:
    script = "id -u; pwd; echo $A; cat"
    flags = ("-i", "-e", "A=b", "-w", "/tmp", "-u", "65534")
    assert home.out("exec", *flags, sandbox, "sh", "-c", script, stdin=b"in").splitlines() == [
        "65534",
        "/tmp",
        "b",
        "in",
    ]
    assert home.run("exec", sandbox, "sh", "-c", "exit 9").returncode == 9
    assert home.run("exec", sandbox, "no-such").returncode == 127
    assert home.run("exec", sandbox, "sh", "-c", "yes & exit 5").returncode == 5
    home.out("exec", "-d", sandbox, "sh", "-c", "echo > /left")
    missing = home.run("exec", "nobody", "true")
    assert missing.returncode == 125
    assert b"nobody" in missing.stderr


def test_pausing_and_going_on(home: Home, sandbox: str) -> None:
    assert home.out("pause", sandbox).strip() == sandbox
    assert "(Paused)" in home.out("ps")
    refused = home.run("exec", sandbox, "true")
    assert refused.returncode == 125
    assert b"is paused" in refused.stderr
    assert home.out("resume", sandbox).strip() == sandbox
    assert home.out("unpause", sandbox).strip() == sandbox
    assert home.out("exec", sandbox, "echo", "here") == "here\n"


def test_copies_of_a_sandbox(home: Home, sandbox: str) -> None:
    made = home.out("fork", "-n", "2", "--name", "twin", sandbox).split()
    assert len(made) == 2
    assert {"twin-1", "twin-2"} <= set(home.out("ps").split())
    names = [home.out("exec", one, "hostname").strip() for one in made]
    assert names == made
    ids = {home.out("exec", one, "sh", "-c", "head -c 16 /dev/urandom | md5sum") for one in (sandbox, *made)}
    assert len(ids) == 3
    home.out("rm", "-f", *made)
    refused = home.run("fork", "-n", "0", sandbox)
    assert refused.returncode == 125
    assert b"give 1 to 100" in refused.stderr
    assert home.run("fork", "nobody").returncode == 125


def test_checkpoints_of_a_sandbox(home: Home) -> None:
    script = "echo first > /mark; sleep 1; while :; do sleep 0.1; done"
    home.out("run", "-d", "--name", "kept", "-m", "96m", home.image, "sh", "-c", script)
    home.out("exec", "kept", "sh", "-c", "until [ -s /mark ]; do sleep 0.1; done; echo second > /mark")
    assert home.out("checkpoint", "create", "--leave-running", "kept", "one").strip() == "one"
    home.out("exec", "kept", "sh", "-c", "echo third > /mark")
    assert home.out("checkpoint", "create", "kept", "two").strip() == "two"
    assert "kept" not in home.out("ps").split()
    listed = json.loads(home.out("checkpoint", "ls", "--json", "kept"))
    assert [one["name"] for one in listed] == ["one", "two"]
    assert "CHECKPOINT" in home.out("checkpoint", "ls", "kept")
    assert home.out("start", "--checkpoint", "one", "kept").strip() == "kept"
    assert home.out("exec", "kept", "cat", "/mark") == "second\n"
    home.out("stop", "-t", "0", "kept")
    home.out("start", "--checkpoint", "two", "kept")
    assert home.out("exec", "kept", "cat", "/mark") == "third\n"
    home.out("kill", "kept")
    assert home.out("wait", "kept").split() == ["137"]
    assert home.out("checkpoint", "rm", "kept", "one").strip() == "one"
    assert home.out("checkpoint", "ls", "-q", "kept").split() == ["two"]
    refused = home.run("start", "--checkpoint", "one", "kept")
    assert refused.returncode == 1
    assert b"there is no checkpoint one" in refused.stderr
    home.out("rm", "kept")


def test_a_terminal_over_the_daemon(home: Home, sandbox: str) -> None:
    screen = Screen()
    fd = screen.theirs
    try:
        with home.start(
            "exec", "-it", "-e", "PS1=at> ", sandbox, "sh", stdin=fd, stdout=fd, stderr=fd
        ) as shell:
            screen.expect(rb"at> ")
            screen.resize(31, 91)
            shell.send_signal(signal.SIGWINCH)
            screen.type(b"stty size\r")
            screen.expect(rb"\n31 91\r\n.*at> ")
            screen.type(b"sh -c 'echo asleep; sleep 300'\r")
            screen.expect(rb"\nasleep\r\n")
            screen.type(b"\x03")
            screen.expect(rb"\^C.*at> ")
            screen.type(b"exit 4\r")
            assert shell.wait(LIMIT) == 4
        assert screen.mode() == screen.before
    finally:
        screen.close()


def test_leaving_a_terminal_and_coming_back(home: Home) -> None:
    screen = Screen()
    fd = screen.theirs
    words = ("--name", "left", "-m", "96m", "-e", "PS1=at> ", home.image, "sh")
    try:
        with home.start("run", "-it", *words, stdin=fd, stdout=fd, stderr=fd) as first:
            screen.expect(rb"at> ")
            screen.type(b"A=kept\r\x10\x11")
            assert first.wait(LIMIT) == 0
        assert screen.mode() == screen.before
        assert json.loads(home.out("inspect", "left"))[0]["state"] == "running"
        with home.start("attach", "left", stdin=fd, stdout=fd, stderr=fd) as second:
            screen.type(b"echo $A again\r")
            screen.expect(rb"\nkept again\r\n")
            screen.type(b"exit 6\r")
            assert second.wait(LIMIT) == 6
        assert screen.mode() == screen.before
    finally:
        screen.close()
        home.out("rm", "-f", "left")


def test_copies_both_ways(home: Home, sandbox: str, tmp_path: Path) -> None:
    here = tmp_path / "tree"
    (here / "inner").mkdir(parents=True)
    (here / "file").write_bytes(random.Random(1).randbytes(3_000_001))
    (here / "inner/script").write_text("#!/bin/sh\necho hello\n")
    (here / "inner/script").chmod(0o755)
    (here / "link").symlink_to("file")
    home.out("cp", str(here), f"{sandbox}:/new")
    assert home.out("exec", sandbox, "/new/inner/script") == "hello\n"
    home.out("cp", f"{sandbox}:/new", str(tmp_path / "back"))
    assert (tmp_path / "back/file").read_bytes() == (here / "file").read_bytes()
    assert (tmp_path / "back/link").readlink() == Path("file")
    assert stat.S_IMODE((tmp_path / "back/inner/script").stat().st_mode) == 0o755
    home.out("cp", str(here / "file"), f"{sandbox}:/tmp")
    home.out("cp", f"{sandbox}:/tmp/file", str(tmp_path / "one"))
    assert (tmp_path / "one").read_bytes() == (here / "file").read_bytes()
    archive = home.run("cp", f"{sandbox}:/new/inner", "-")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as opened:
        assert {"inner", "inner/script"} <= {name.rstrip("/") for name in opened.getnames()}
    home.out("cp", "-", f"{sandbox}:/tmp", stdin=archive.stdout)
    assert home.out("exec", sandbox, "/tmp/inner/script") == "hello\n"
    missing = home.run("cp", f"{sandbox}:/nothing", str(tmp_path))
    assert missing.returncode == 125
    assert b"/nothing" in missing.stderr


def test_what_it_does_and_uses(home: Home, sandbox: str) -> None:
    assert "sleep" in home.out("top", sandbox)
    used = home.out("stats", "--no-stream")
    assert sandbox in used
    sample = json.loads(home.out("stats", "--no-stream", "--json", sandbox))
    assert sample
    kinds = [
        json.loads(line)["kind"]
        for line in home.out("events", "--since", "1h", "--no-follow", "--json").splitlines()
    ]
    assert "started" in kinds
    assert home.out("info")
    assert home.out("kill", "-s", "KILL", sandbox).strip() == sandbox
    assert home.out("wait", sandbox).split() == ["137"]


def test_a_client_that_is_killed_takes_its_sandbox_with_it(
    home: Home, until: Callable[[Callable[[], bool]], None]
) -> None:
    """One that is attached: nobody would know of it any more."""
    with home.start("run", "--rm", "--name", "tied", "-m", "96m", home.image, "sh", "-c", COUNTING) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"line 1\n"
        client.kill()
    until(lambda: home.out("ps", "-a", "-q") == "")


def test_a_slow_reader_loses_nothing(home: Home) -> None:
    """The command waits for who reads it; nothing is kept in memory, nothing dropped."""
    count = 8 * 1024 * 1024
    script = f"head -c {count} /dev/zero | tr '\\0' x"
    with home.start("run", "--rm", "-m", "96m", home.image, "sh", "-c", script) as client:
        assert client.stdout is not None
        time.sleep(1.0)  # the output of a command that nobody reads
        assert len(client.stdout.read()) == count
        assert client.wait(LIMIT) == 0


def test_a_further_command_has_ended_long_before_its_output_was_read(home: Home, sandbox: str) -> None:
    count = 4 * 1024 * 1024
    script = f"head -c {count} /dev/zero | tr '\\0' x"
    with home.start("exec", sandbox, "sh", "-c", script) as client:
        assert client.stdout is not None
        found = 0
        while data := os.read(client.stdout.fileno(), 128 * 1024):
            found += len(data)
            time.sleep(0.1)  # a reader that is slow to the end
        assert found == count
        assert client.wait(LIMIT) == 0


def test_signals_of_the_client_reach_the_command(home: Home) -> None:
    script = "trap 'echo term; exit 12' TERM; echo up; while :; do sleep 0.1; done"
    with home.start("run", "--rm", "-m", "96m", home.image, "sh", "-c", script) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.send_signal(signal.SIGTERM)
        assert client.stdout.read() == b"term\n"
        assert client.wait(LIMIT) == 12


def test_an_unfinished_line_and_bytes_that_are_no_text_are_kept(home: Home) -> None:
    home.out("run", "-d", "--name", "bytes", "-m", "96m", home.image, "printf", r"\377\000a")
    try:
        assert home.out("wait", "bytes").split() == ["0"]
        assert home.run("logs", "bytes").stdout == b"\xff\0a"
    finally:
        home.out("rm", "bytes")


def test_the_output_of_a_closed_pipe(home: Home, sandbox: str) -> None:
    with home.start("exec", sandbox, "sh", "-c", "while :; do echo y; done") as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.stdout.close()
        assert client.wait(LIMIT) == 128 + signal.SIGPIPE
