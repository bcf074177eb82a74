"""Kept processes: their output and exit pass from one connection to the next without a gap."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from monocore_core.errors import CommandNotFound, GuestError, InvalidInput
from monocore_core.guest.client import Guest
from monocore_core.guest.messages import encode_spawn
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.streams import ByteStream
from monocore_core.guest.wire import WINDOW, Decoder, Frame, Hello, Kind, encode_request
from monocore_core.model.guest import ProcessExit, ProcessSpec, TerminalSize

PATH = ("PATH=/usr/bin:/bin",)


class HostAgent(Protocol):
    process: subprocess.Popen[bytes]

    def raw(self) -> socket.socket: ...

    async def guest(self) -> Guest: ...


class Agent(Protocol):
    async def guest(self) -> Guest: ...


def kept(script: str, label: str = "main", *, stdin: bool = False) -> ProcessSpec:
    return ProcessSpec(argv=("sh", "-c", script), env=PATH, keep=True, label=label, stdin=stdin)


class Log:
    """What a host has safe of one stream."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = bytearray()
        self.again = 0

    async def follow(self, stream: ByteStream, chance: random.Random, limit: int) -> None:
        """Take up to ``limit`` bytes, acknowledging a part of them now and then."""
        begun = stream.offset
        assert begun <= len(self.data), "a gap"
        while stream.offset < min(begun + limit, self.size):
            at = stream.offset
            part = await stream.read(chance.randrange(1, 100_000))
            assert part, "it ended early"
            known = self.data[at : at + len(part)]
            assert part.startswith(known)
            self.again += len(known)
            self.data += part[len(known) :]
            if chance.random() < 0.5 or stream.offset - begun > WINDOW // 2:
                stream.acknowledge(stream.offset)


def only(guest: Guest) -> GuestProcess:
    (process,) = guest.adopted.values()
    return process


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_byte_is_lost_or_changed_by_breaking_connections(
    guest: Guest, agent: Agent, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    contents = [os.urandom(1_000_000 + chance.randrange(99)) for _ in range(2)]
    for name, content in zip(("out", "err"), contents, strict=True):
        (tmp_path / name).write_bytes(content)
    process = await guest.spawn(kept(f"cd {tmp_path}; cat out & cat err >&2; wait; exit 7"))
    logs, current, takeovers = [Log(len(content)) for content in contents], guest, 0
    while any(len(log.data) < log.size for log in logs):
        limits = [chance.randrange(0, 300_000) for _ in logs]
        streams = (process.stdout, process.stderr)
        async with asyncio.timeout(20):
            await asyncio.gather(
                *(
                    log.follow(stream, chance, limit)
                    for log, stream, limit in zip(logs, streams, limits, strict=True)
                )
            )
        if chance.random() < 0.5:
            await current.aclose()
        following = await agent.guest()
        await current.aclose()  # if it was not: the new connection broke it
        current, takeovers = following, takeovers + 1
        process = only(current)
        assert (process.label, process.kept) == ("main", True)
    assert [bytes(log.data) for log in logs] == contents
    assert takeovers > 2
    assert sum(log.again for log in logs) > 0
    assert await process.wait() == ProcessExit(7)
    for log, stream in zip(logs, (process.stdout, process.stderr), strict=True):
        await log.follow(stream, chance, WINDOW)
        assert await stream.read() == b""
    await process.release()
    await current.stats()  # it has arrived
    await current.aclose()
    last = await agent.guest()
    assert last.adopted == {}
    await last.aclose()


async def test_the_exit_waits_for_its_owner(guest: Guest, agent: Agent) -> None:
    process = await guest.spawn(kept("echo out; echo err >&2; exit 3", "job-1"))
    assert await process.wait() == ProcessExit(3)
    for _ in range(3):
        await guest.aclose()
        guest = await agent.guest()
        process = only(guest)
        assert (process.label, await process.wait()) == ("job-1", ProcessExit(3))
        assert (await process.stdout.read(), await process.stdout.read()) == (b"out\n", b"")
        assert (await process.stderr.read(), await process.stderr.read()) == (b"err\n", b"")
    process.stdout.acknowledge(3)
    process.stdout.acknowledge(3)
    await guest.stats()  # it has arrived
    await guest.aclose()
    guest = await agent.guest()
    process = only(guest)
    assert (process.stdout.offset, process.stderr.offset) == (3, 0)
    assert (await process.stdout.read(), await process.stdout.read()) == (b"\n", b"")
    await guest.aclose()


async def test_no_more_than_a_window_is_sent_before_it_is_acknowledged(guest: Guest, agent: Agent) -> None:
    size = WINDOW + 100_000
    process = await guest.spawn(kept(f"head -c {size} /dev/zero; read x; echo $x", stdin=True))
    for _ in range(2):
        while process.stdout.offset < WINDOW:
            assert await process.stdout.read()
        assert process.stdout.offset == WINDOW
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.stdout.read(), 0.05)
        await guest.aclose()
        guest = await agent.guest()
        process = only(guest)
        assert process.stdout.offset == 0
    while process.stdout.offset < size:
        assert await process.stdout.read()
        process.stdout.acknowledge(process.stdout.offset)
    await process.write_stdin(b"word\n")
    assert await process.stdout.read() == b"word\n"
    assert (await process.wait()).code == 0
    await process.release()
    await guest.aclose()


async def test_a_terminal_is_detached_and_attached(guest: Guest, agent: Agent) -> None:
    spec = ProcessSpec(
        argv=("sh", "-c", "stty size; read x; stty size; echo got $x"),
        env=PATH, terminal=TerminalSize(33, 77), stdin=True, keep=True, label="tty",
    )  # fmt: skip
    process = await guest.spawn(spec)
    seen = b""
    while b"33 77" not in seen:
        seen += await process.stdout.read()
    process.stdout.acknowledge(2)
    await guest.stats()  # it has arrived
    await guest.aclose()
    other = await agent.guest()
    process = only(other)
    assert process.terminal
    assert (await process.stdout.read()).startswith(b" 77")
    assert await process.stderr.read() == b""
    await process.resize(TerminalSize(40, 100))
    await process.write_stdin(b"word\n")
    rest = b""
    while part := await process.stdout.read():
        rest += part
    assert b"40 100" in rest
    assert b"got word" in rest
    assert (await process.wait()).code == 0
    await other.aclose()


async def test_many_are_told_apart_by_their_labels(guest: Guest, agent: Agent) -> None:
    for number in range(5):
        await guest.spawn(kept(f"echo {number}", f"é-{number}"))
    await guest.spawn(ProcessSpec(argv=("sleep", "100"), env=PATH, label="plain"))
    other = await agent.guest()
    found = {process.label: process for process in other.adopted.values()}
    assert set(found) == {"plain", *(f"é-{n}" for n in range(5))}
    assert not found["plain"].kept
    assert [await found[f"é-{n}"].stdout.read() for n in range(5)] == [b"%d\n" % n for n in range(5)]
    await found["plain"].signal(9)
    await other.aclose()


@pytest.mark.parametrize("command", ["true", "no-such-command"])
async def test_a_connection_that_breaks_while_it_begins(guest: Guest, agent: HostAgent, command: str) -> None:
    """The next hello comes in one go with the request: nobody knows yet whether the program runs."""
    next_id = (await guest.spawn(ProcessSpec(argv=("true",), env=PATH))).id + 1
    spec = ProcessSpec(argv=(command,), env=PATH, keep=True, label="early")
    tokens, nonces = (11, 22), (os.urandom(16), os.urandom(16))
    with agent.raw() as end:
        end.sendall(
            Hello(tokens[0], nonces[0]).encode(padded=True)
            + encode_request(tokens[0], Kind.SPAWN, next_id, encode_spawn(spec))
            + Hello(tokens[1], nonces[1]).encode(padded=True)
        )
        decoder, kinds = Decoder(tokens[1], nonces[1]), list[int]()
        last = Kind.EXITED if command == "true" else Kind.FAILED
        while last not in kinds:
            kinds += [
                item.kind
                for item in decoder.feed(end.recv(65536))
                if isinstance(item, Frame) and item.id == next_id
            ]
    assert kinds[0] == Kind.ADOPTED
    other = await agent.guest()
    labels = {process.label for process in other.adopted.values()}
    assert ("early" in labels) == (command == "true")
    await other.aclose()


async def test_one_that_cannot_run_is_not_kept(guest: Guest, agent: Agent) -> None:
    with pytest.raises(CommandNotFound):
        await guest.spawn(ProcessSpec(argv=("no-such",), env=PATH, keep=True))
    other = await agent.guest()
    assert other.adopted == {}
    await other.aclose()


async def test_what_cannot_be_acknowledged(guest: Guest) -> None:
    process = await guest.spawn(kept("echo hi"))
    with pytest.raises(InvalidInput, match="not read yet"):
        process.stdout.acknowledge(1)
    plain = await guest.spawn(ProcessSpec(argv=("true",), env=PATH))
    with pytest.raises(InvalidInput, match="not kept"):
        plain.stdout.acknowledge(0)
    with pytest.raises(InvalidInput, match="longer than 64 bytes"):
        await guest.spawn(kept("true", "l" * 65))
    await process.release()


async def test_a_connection_that_failed_acknowledges_nothing(guest: Guest, agent: Agent) -> None:
    process = await guest.spawn(kept("echo hi"))
    assert await process.stdout.read() == b"hi\n"
    other = await agent.guest()
    with pytest.raises(GuestError):
        await asyncio.wait_for(guest.stats(), 20)
    process.stdout.acknowledge(3)
    assert await only(other).stdout.read() == b"hi\n"
    await other.aclose()


def _switches(process: int) -> int:
    """How often a process went to sleep of itself: every wake-up is followed by one."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("voluntary_ctxt")))


async def _quiet(process: int) -> None:
    """Wait for half a second without a wake-up; what was under way may take a moment to settle."""
    async with asyncio.timeout(30):
        before = -1
        while before != (now := _switches(process)):
            before = now
            await asyncio.sleep(0.5)


async def test_an_idle_agent_does_not_wake(agent: HostAgent, guest: Guest, tmp_path: Path) -> None:
    await guest.spawn(kept("echo hi; exec sleep 100"))
    waiting = await guest.spawn(ProcessSpec(argv=("sleep", "100"), env=PATH, terminal=TerminalSize()))
    await guest.files.watch(str(tmp_path))
    full = await guest.spawn(kept("yes", "full"))  # its window is, and nobody acknowledges
    while full.stdout.offset < WINDOW:
        await full.stdout.read()
    await guest.stats()
    await _quiet(agent.process.pid)
    await guest.aclose()
    await _quiet(agent.process.pid)
    other = await agent.guest()
    for process in other.adopted.values():
        await process.signal(9, group=True)
        await process.wait()
    assert waiting.id in other.adopted
    await other.aclose()
