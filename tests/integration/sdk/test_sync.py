"""The SDK without asyncio, against the same daemon and sandbox."""

from __future__ import annotations

import os
import socket as sockets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from monocore_core.client.sync import Client, CommandFailed, Sandbox
from monocore_core.errors import CommandNotFound, DeadlineExceeded, NotFound

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SOON = 60.0


@pytest.fixture
def shared(socket: Path, sandbox: str) -> Iterator[Sandbox]:
    with Client.connect(f"unix://{socket}") as client:
        yield client.get(sandbox)


def test_commands_and_processes(shared: Sandbox) -> None:
    assert shared.run("cat", stdin="héllo").stdout == "héllo"
    with pytest.raises(CommandFailed):
        shared.run("false", check=True)
    with pytest.raises(CommandNotFound):
        shared.exec("no-such-program")
    data = os.urandom(3_000_000)
    with shared.exec("sh", "-c", "wc -c; echo done >&2; exit 4") as process:
        process.write(data)
        process.close_stdin()
        assert process.wait(SOON).code == 4
        assert (process.stdout.read_all().strip(), process.stderr.read_all()) == (b"3000000", b"done\n")
    with shared.exec("sleep", "4567") as process:
        with pytest.raises(DeadlineExceeded):
            process.stdout.read(timeout=0.05)
        process.signal(15)
        assert process.wait(SOON).code == 128 + 15


def test_copies_and_checkpoints(shared: Sandbox) -> None:
    shared.files.write("/mark", "here")
    made = shared.fork(2, name="copied")
    try:
        assert [one.info.name for one in made] == ["copied-1", "copied-2"]
        assert [one.files.read("/mark") for one in made] == [b"here", b"here"]
        copy = made[0]
        kept = copy.checkpoint("one")
        assert kept["name"] == "one"
        assert copy.refresh().state == "exited"
        assert [one["name"] for one in copy.checkpoints()] == ["one"]
        assert copy.start(checkpoint="one").state == "running"
        assert copy.files.read("/mark") == b"here"
        copy.remove_checkpoint("one")
        with pytest.raises(NotFound):
            copy.remove_checkpoint("one")
    finally:
        for one in made:
            one.remove()


def test_a_terminal(shared: Sandbox) -> None:
    with shared.pty(rows=30, columns=90) as shell:
        shell.write("stty size; exit 7\n")
        assert shell.wait(SOON).code == 7
        assert b"30 90" in shell.stdout.read_all()


def test_files(shared: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_text("x")
    shared.files.upload(tmp_path / "in", "/tmp/s")
    shared.files.write("/tmp/s/y", "why")
    assert [(one.name, one.kind) for one in shared.files.list("/tmp/s")] == [("x", "file"), ("y", "file")]
    shared.files.download("/tmp/s", tmp_path / "out")
    assert (tmp_path / "out" / "y").read_text() == shared.files.read_text("/tmp/s/y") == "why"
    shared.files.remove("/tmp/s", recursive=True)
    with pytest.raises(NotFound):
        shared.files.read("/tmp/s/x")


def test_code_and_ports(shared: Sandbox) -> None:
    assert shared.run_code("shell", "echo out; echo x > made").files == ("made",)
    with (
        shared.exec("sh", "-c", "while true; do echo served | nc -l -p 8081; done"),
        shared.expose(8081) as to,
    ):
        answer = b""
        while not answer:
            with sockets.create_connection((to.host, to.port), SOON) as connected:
                try:
                    answer = connected.recv(100)
                except ConnectionResetError:  # nobody listens there yet
                    continue
        assert answer == b"served\n"


def test_a_sandbox_of_its_own(socket: Path, image: str) -> None:
    with Sandbox.create(
        image, url=f"unix://{socket}", command=["sh", "-c", "echo hello; sleep 1000"]
    ) as made:
        with closing(made.logs(follow=True)) as lines:
            assert next(lines).text == "hello"
        made.kill("TERM")
        assert made.wait().code == 128 + 15
    with pytest.raises(NotFound):
        made.refresh()


def test_it_needs_neither_asyncio_nor_aiohttp() -> None:
    script = (
        "import sys, monocore_core.client as c; assert not {'asyncio', 'attrs', 'aiohttp'} & set(sys.modules);"
        "import monocore_core.client.sync; assert 'aiohttp' not in sys.modules; c.Sandbox; assert 'aiohttp' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
