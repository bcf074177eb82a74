"""One command over HTTP: what it reads, writes, how it ends, and that nobody's command runs on."""

from __future__ import annotations

import base64
import socket as sockets
import time
from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.tables import Table
from monocore_core.errors import CommandNotFound, ConfigError, InvalidInput

pytestmark = pytest.mark.integration
#: Seconds for what happens at once.
SOON = 90.0


def run(api: Api, sandbox: str, *command: str, **more: object) -> Table:
    return api.call("POST", target("sandboxes", sandbox, "exec"), {"command": list(command), **more})


def test_a_command_is_run_with_everything_it_was_given(api: Api, sandbox: str) -> None:
    script = 'cat; echo " $LEVEL $(pwd) $(id -u)"; echo complaint >&2; exit 3'
    ended = run(
        api, sandbox, "sh", "-c", script, stdin="héllo", environ={"LEVEL": "9"}, cwd="/tmp", user="33"
    )
    assert (ended["code"], ended["reason"], ended["truncated"]) == (3, "exited", False)
    assert (ended["stdout"], ended["stderr"]) == ("héllo 9 /tmp 33\n", "complaint\n")
    assert isinstance(ended["seconds"], float)


def test_bytes_that_are_no_text_go_both_ways(api: Api, sandbox: str) -> None:
    data = bytes(range(256))
    ended = run(api, sandbox, "cat", stdin_base64=base64.b64encode(data).decode())
    assert base64.b64decode(str(ended["stdout_base64"])) == data
    assert "stdout" not in ended


def test_output_is_bounded_and_the_command_goes_on(api: Api, sandbox: str) -> None:
    ended = run(api, sandbox, "sh", "-c", "seq 1 20000; exit 7", max_output=10)
    assert (ended["code"], ended["stdout"], ended["truncated"]) == (7, "1\n2\n3\n4\n5\n", True)


def test_a_command_whose_time_is_up_is_ended_whatever_it_ignores(api: Api, sandbox: str) -> None:
    ended = run(api, sandbox, "sh", "-c", "trap '' HUP TERM; echo on; sleep 1234", timeout=1.0)
    assert (ended["code"], ended["reason"], ended["stdout"]) == (124, "timeout", "on\n")
    assert "sleep 1234" not in commands(api, sandbox)


def test_a_child_that_keeps_the_output_open_keeps_nobody_waiting(api: Api, sandbox: str) -> None:
    ended = run(api, sandbox, "sh", "-c", "sleep 4321 & echo done; exit 0", timeout=20)
    assert (ended["code"], ended["reason"], ended["stdout"]) == (0, "exited", "done\n")
    run(api, sandbox, "killall", "sleep")


def test_a_child_that_writes_for_ever_keeps_nobody_waiting(api: Api, sandbox: str) -> None:
    ended = run(api, sandbox, "sh", "-c", "yes & exit 5", max_output=10)
    assert (ended["code"], ended["reason"], ended["truncated"]) == (5, "exited", True)
    run(api, sandbox, "killall", "yes")


def test_a_stream_tells_pieces_then_the_end(api: Api, sandbox: str) -> None:
    where = target("sandboxes", sandbox, "exec", stream=True)
    lines = list(api.tables("POST", where, {"command": ["sh", "-c", "echo out; echo err >&2; exit 4"]}))
    pieces = {(one["stream"], one["data"]) for one in lines[:-1]}
    assert pieces == {("stdout", "out\n"), ("stderr", "err\n")}
    end = lines[-1]["exit"]
    assert isinstance(end, dict)
    assert (end["code"], end["reason"]) == (4, "exited")


def test_a_long_stream_loses_nothing(api: Api, sandbox: str) -> None:
    where = target("sandboxes", sandbox, "exec", stream=True)
    lines = list(api.tables("POST", where, {"command": ["seq", "1", "60000"]}))
    data = "".join(str(one["data"]) for one in lines[:-1])
    assert data == "".join(f"{number}\n" for number in range(1, 60001))


@pytest.mark.parametrize("stream", ["0", "1"])
def test_a_client_that_vanishes_ends_the_command(api: Api, sandbox: str, socket: Path, stream: str) -> None:
    body = b'{"command": ["sleep", "5678"]}'
    with sockets.socket(sockets.AF_UNIX) as client:
        client.connect(str(socket))
        where = target("sandboxes", sandbox, "exec", stream=stream)
        head = f"POST {where} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        until(api, sandbox, "sleep 5678", there=True)
    until(api, sandbox, "sleep 5678", there=False)


def test_what_cannot_be_run_is_a_problem(api: Api, sandbox: str) -> None:
    with pytest.raises(CommandNotFound):
        run(api, sandbox, "no-such-program")
    with pytest.raises(ConfigError) as caught:
        run(api, sandbox, timeout=-1, envrion={}, max_output=-1)
    assert "did you mean 'environ'" in str(caught.value.problems) + caught.value.brief
    with pytest.raises(ConfigError) as caught:
        run(api, sandbox, timeout=-1, max_output=-1)
    assert len(caught.value.problems) == 3
    with pytest.raises(InvalidInput, match="stdin_base64"):
        run(api, sandbox, "cat", stdin_base64="?")


def commands(api: Api, sandbox: str) -> str:
    return str(api.call("GET", target("sandboxes", sandbox, "top"))["processes"])


def until(api: Api, sandbox: str, command: str, *, there: bool) -> None:
    deadline = time.monotonic() + SOON
    while (command in commands(api, sandbox)) is not there:
        assert time.monotonic() < deadline, commands(api, sandbox)
