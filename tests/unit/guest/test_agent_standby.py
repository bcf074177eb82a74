"""The process that waits for the first command: what it becomes differs in nothing from one that is forked when it is asked for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from monocore_core.errors import CommandNotFound, GuestError
from monocore_core.guest.client import Guest
from monocore_core.guest.process import GuestProcess
from monocore_core.model.guest import ProcessExit, ProcessSpec, Rlimit, TerminalSize
from monocore_core.testing.guests import everything
from monocore_core.testing.processes import settled

PATH = ("PATH=/usr/bin:/bin", "WORD=with spaces\nand a line")
#: What a program finds when it begins.
LOOK = """
echo $$; echo $PPID; pwd; umask; id -u; ulimit -n; echo "$WORD"; test "$(ps -o sid= -p $$ | tr -d ' ')" = $$ && echo leads
for each in /proc/self/fd/*; do echo "${each##*/}"; done
grep -E '^(Sig|Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/oom_score_adj
readlink /proc/self/fd/0; exec 0<&-; exit 7
"""


Result = tuple[bytes, bytes, ProcessExit]


class Agent(Protocol):
    @property
    def process(self) -> subprocess.Popen[bytes]: ...


def children_of(agent: Agent) -> set[int]:
    pid = agent.process.pid
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()}


async def begin(guest: Guest, *argv: str, stdin: bool = False, env: tuple[str, ...] = PATH) -> GuestProcess:
    return await guest.spawn(
        ProcessSpec(argv=argv, env=env, cwd="/usr", stdin=stdin, rlimits=(Rlimit("nofile", 123, 456),))
    )


async def result(process: GuestProcess) -> Result:
    out, err = await asyncio.gather(everything(process.stdout), everything(process.stderr))
    return out, err, await process.wait()


def told_first(of: Result) -> tuple[int, Result]:
    """A first line that is a number, and the rest."""
    first, _, rest = of[0].partition(b"\n")
    return int(first), (rest, *of[1:])


async def test_it_becomes_what_is_asked_for_first(guest: Guest, agent: Agent) -> None:
    await guest.stand_by()
    await guest.stand_by()
    (waiting,) = children_of(agent)
    begun, said = told_first(await result(await begin(guest, "sh", "-c", LOOK)))
    assert begun == waiting
    assert said[1:] == (b"", ProcessExit(7))
    assert said[0].startswith(b"%d\n/usr\n0022\n" % agent.process.pid)
    assert b"\n123\nwith spaces\nand a line\nleads\n" in said[0]
    begun, again = told_first(await result(await begin(guest, "sh", "-c", LOOK)))
    assert begun != waiting
    assert again == said
    assert not children_of(agent)


async def test_its_input_is_the_hosts_when_that_is_wanted(guest: Guest) -> None:
    await guest.stand_by()
    process = await begin(guest, "cat", stdin=True)
    await process.write_stdin(b"to and fro" * 20_000)
    await process.close_stdin()
    assert await result(process) == (b"to and fro" * 20_000, b"", ProcessExit(0))


async def test_else_it_has_none(guest: Guest) -> None:
    await guest.stand_by()
    assert await result(await begin(guest, "cat")) == (b"", b"", ProcessExit(0))


async def test_a_signal_ends_it(guest: Guest) -> None:
    await guest.stand_by()
    process = await begin(guest, "sleep", "100")
    await process.signal(signal.SIGTERM)
    assert await process.wait() == ProcessExit(143, 15)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (ProcessSpec(argv=("no-such-command",), env=PATH), CommandNotFound),
        (ProcessSpec(argv=("true",), env=PATH, user="nobody-such"), GuestError),
        (ProcessSpec(argv=("true",), env=PATH, cwd="/etc/passwd"), GuestError),
    ],
)
async def test_what_cannot_run_is_told_in_the_same_words(
    guest: Guest, agent: Agent, spec: ProcessSpec, error: type[GuestError]
) -> None:
    told: list[str] = []
    await guest.stand_by()
    for _ in range(2):
        with pytest.raises(error) as caught:
            await guest.spawn(spec)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert not await settled(lambda: children_of(agent), lambda found: not found, 20)


async def test_what_it_cannot_become_is_forked_and_it_ends(guest: Guest, agent: Agent) -> None:
    terminal = ProcessSpec(
        argv=("sh", "-c", "echo $$; test -t 0 && stty size"), env=PATH, terminal=TerminalSize(3, 7)
    )
    long = ProcessSpec(argv=("sh", "-c", "echo $$; echo ${#LONG}"), env=(*PATH, "LONG=" + "x" * 40_000))
    for spec, said in ((terminal, b"3 7\r\n"), (long, b"40000\n")):
        await guest.stand_by()
        (waiting,) = children_of(agent)
        process = await guest.spawn(spec)
        first, _, rest = (await everything(process.stdout)).partition(b"\n")
        assert int(first) != waiting
        assert rest == said
        assert (await process.wait()).code == 0
        assert not await settled(lambda: children_of(agent), lambda found: not found, 20)


async def test_one_that_was_killed_is_not_missed(guest: Guest, agent: Agent) -> None:
    await guest.stand_by()
    (waiting,) = children_of(agent)
    os.kill(waiting, signal.SIGKILL)
    assert not await settled(lambda: children_of(agent), lambda found: not found, 20)
    assert await result(await begin(guest, "echo", "here")) == (b"here\n", b"", ProcessExit(0))


async def test_it_waits_through_other_work(guest: Guest, agent: Agent, tmp_path: Path) -> None:
    await guest.stand_by()
    (waiting,) = children_of(agent)
    (tmp_path / "file").write_bytes(b"content")
    assert b"content" in b"".join([chunk async for chunk in guest.read_archive(os.fspath(tmp_path))])
    assert waiting in children_of(agent)
    assert told_first(await result(await begin(guest, "sh", "-c", "echo $$")))[0] == waiting
