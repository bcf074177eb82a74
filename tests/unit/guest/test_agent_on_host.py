"""The real agent, with sanitizers, on the host: processes, streams, archives, sessions."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from monocore_core.errors import CommandNotExecutable, CommandNotFound, GuestError, NotFound
from monocore_core.guest.client import Guest
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.streams import ByteStream
from monocore_core.model.guest import GuestSetup, ProcessExit, ProcessSpec, Rlimit, RootDisk, TerminalSize

PATH = ("PATH=/usr/bin:/bin",)


class Agent(Protocol):
    async def guest(self) -> Guest: ...


async def everything(stream: ByteStream) -> bytes:
    parts: list[bytes] = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def run(
    guest: Guest, *argv: str, cwd: str = "/", rlimits: tuple[Rlimit, ...] = ()
) -> tuple[bytes, bytes, ProcessExit]:
    process = await guest.spawn(ProcessSpec(argv=argv, env=PATH, cwd=cwd, rlimits=rlimits))
    out, err = await asyncio.gather(everything(process.stdout), everything(process.stderr))
    return out, err, await process.wait()


async def test_output_and_code(guest: Guest) -> None:
    assert await run(guest, "sh", "-c", "echo out; echo err >&2; exit 7") == (
        b"out\n",
        b"err\n",
        ProcessExit(7),
    )


async def test_killed_by_a_signal(guest: Guest) -> None:
    assert (await run(guest, "sh", "-c", "kill -9 $$"))[2] == ProcessExit(137, 9)


async def test_a_signal_from_the_host(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("sleep", "100"), env=PATH))
    await process.signal(signal.SIGTERM)
    assert await process.wait() == ProcessExit(143, 15)


async def test_a_signal_to_the_group_reaches_children(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("sh", "-c", "sleep 100 & echo up; wait"), env=PATH))
    assert await process.stdout.read() == b"up\n"
    await process.signal(signal.SIGKILL, group=True)
    assert (await process.wait()).signal == 9
    assert await process.stdout.read() == b""


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("no-such-command", CommandNotFound),
        ("/no/such", CommandNotFound),
        ("/etc/passwd", CommandNotExecutable),
        ("/usr", CommandNotExecutable),
    ],
)
async def test_commands_that_cannot_run(guest: Guest, command: str, error: type[GuestError]) -> None:
    with pytest.raises(error, match=command):
        await guest.spawn(ProcessSpec(argv=(command,), env=PATH))


async def test_an_unknown_user(guest: Guest) -> None:
    with pytest.raises(GuestError, match="user 'nobody-such'"):
        await guest.spawn(ProcessSpec(argv=("true",), env=PATH, user="nobody-such"))


async def test_working_directory_is_made_and_home_added(guest: Guest, tmp_path: Path) -> None:
    where = tmp_path / "a" / "b"
    out, _, _ = await run(guest, "sh", "-c", 'pwd; echo "$HOME"; echo "$X"', cwd=str(where))
    assert out.decode().splitlines()[0] == str(where)
    assert out.decode().splitlines()[1].startswith("/")


async def test_limits_are_applied(guest: Guest) -> None:
    out, _, _ = await run(guest, "sh", "-c", "ulimit -n", rlimits=(Rlimit("nofile", 123, 456),))
    assert out == b"123\n"


async def test_a_terminal(guest: Guest) -> None:
    process = await guest.spawn(
        ProcessSpec(
            argv=("sh", "-c", "stty size; read x; stty size; echo got $x"),
            env=PATH,
            terminal=TerminalSize(33, 77),
            stdin=True,
        )
    )
    assert (await process.stdout.read()).startswith(b"33 77")
    await process.resize(TerminalSize(40, 100))
    await process.write_stdin(b"word\n")
    rest = await everything(process.stdout)
    assert b"40 100" in rest
    assert b"got word" in rest
    assert (await process.wait()).code == 0
    assert await process.stderr.read() == b""


async def test_ctrl_c_in_a_terminal(guest: Guest) -> None:
    # no shell: dash holds the signal back when it comes between its fork and the command
    process = await guest.spawn(
        ProcessSpec(argv=("sleep", "100"), env=PATH, terminal=TerminalSize(), stdin=True)
    )
    await process.write_stdin(b"\x03")
    assert (await process.wait()).signal == signal.SIGINT


async def test_input_that_nobody_reads_is_no_error(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("true",), env=PATH, stdin=True))
    for _ in range(64):
        await process.write_stdin(bytes(64 * 1024))
    await process.close_stdin()
    assert (await process.wait()).code == 0


async def hashed(stream: ByteStream) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while part := await stream.read(1 << 20):
        digest.update(part)
        size += len(part)
    return size, digest.hexdigest()


async def feed(process: GuestProcess, size: int) -> str:
    digest, block = hashlib.sha256(), os.urandom(1 << 20)
    for at in range(0, size, len(block)):
        part = block[: min(len(block), size - at)]
        digest.update(part)
        await process.write_stdin(part)
    await process.close_stdin()
    return digest.hexdigest()


#: Bytes for the test of exactness; the full 1 GiB is asked for by the environment.
SIZE = int(os.environ.get("MONOCORE_TEST_STREAM_BYTES", "25178169"))


async def test_bytes_are_exact_both_ways(guest: Guest) -> None:
    process = await guest.spawn(ProcessSpec(argv=("cat",), env=PATH, stdin=True))
    sent, (size, received) = await asyncio.gather(feed(process, SIZE), hashed(process.stdout))
    assert (size, received) == (SIZE, sent)
    assert await process.wait() == ProcessExit(0)


async def test_a_reader_that_does_not_read_stops_only_its_own_stream(guest: Guest) -> None:
    flood = await guest.spawn(ProcessSpec(argv=("sh", "-c", "yes; true"), env=PATH))
    size = 8 * 1024 * 1024
    both = await guest.spawn(
        ProcessSpec(argv=("sh", "-c", f"head -c {size} /dev/zero >&2; echo end"), env=PATH)
    )
    assert await both.stderr.read() != b""
    for _ in range(20):
        assert (await run(guest, "echo", "hi"))[0] == b"hi\n"
    rest = await everything(both.stderr)
    assert len(rest) + 32768 >= size
    assert await everything(both.stdout) == b"end\n"
    assert await flood.stdout.read(4) == b"y\ny\n"
    await flood.signal(signal.SIGKILL, group=True)
    assert (await flood.wait()).signal == 9


async def test_many_at_once(guest: Guest) -> None:
    results = await asyncio.gather(*(run(guest, "sh", "-c", f"echo {n}; exit {n}") for n in range(60)))
    assert [(out, end.code) for out, _, end in results] == [(f"{n}\n".encode(), n) for n in range(60)]


async def test_set_up_and_spawn_in_one_go(agent: Agent) -> None:
    guest = await agent.guest()
    setup = GuestSetup(root=RootDisk("r", "erofs"), hostname="h", entropy=b"", time_ns=0)
    _, process = await asyncio.gather(guest.setup(setup), guest.spawn(ProcessSpec(argv=("true",), env=PATH)))
    assert (await process.wait()).code == 0
    with pytest.raises(GuestError, match="already"):
        await guest.setup(setup)
    await guest.aclose()


async def test_nothing_runs_before_the_setup(agent: Agent) -> None:
    guest = await agent.guest()
    with pytest.raises(GuestError, match="not set up"):
        await guest.spawn(ProcessSpec(argv=("true",)))
    await guest.aclose()


async def test_a_new_host_finds_the_processes(guest: Guest, agent: Agent) -> None:
    process = await guest.spawn(
        ProcessSpec(argv=("sh", "-c", "read x; echo got $x; exit 5"), env=PATH, stdin=True)
    )
    flood = await guest.spawn(ProcessSpec(argv=("yes",), env=PATH))
    assert await flood.stdout.read()
    other = await agent.guest()
    with pytest.raises(GuestError):
        await process.wait()
    assert other.ready
    assert set(other.adopted) == {process.id, flood.id}
    again = other.adopted[process.id]
    await again.write_stdin(b"it\n")
    assert await everything(again.stdout) == b"got it\n"
    assert (await again.wait()).code == 5
    await other.adopted[flood.id].signal(signal.SIGKILL)
    assert (await other.adopted[flood.id].wait()).signal == 9
    fresh = await other.spawn(ProcessSpec(argv=("true",), env=PATH))
    assert fresh.id > flood.id
    await other.aclose()


async def one(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_archives_in_and_out(guest: Guest, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder" / ("n" * 150)).mkdir(parents=True)
    (source / "folder" / ("n" * 150) / "deep").write_bytes(os.urandom(300_001))
    (source / "empty").touch()
    (source / "link").symlink_to("folder")
    os.utime(source / "empty", ns=(5, 1_600_000_000_123_456_789))
    packed = b"".join([part async for part in guest.read_archive(str(source))])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = {member.name for member in archive}
    assert names == {
        "source", "source/empty", "source/link", "source/folder",
        "source/folder/" + "n" * 150, "source/folder/" + "n" * 150 + "/deep",
    }  # fmt: skip
    await guest.write_archive(str(tmp_path / "target"), one(packed))
    copy = tmp_path / "target" / "source"
    assert (copy / "folder" / ("n" * 150) / "deep").read_bytes() == (
        source / "folder" / ("n" * 150) / "deep"
    ).read_bytes()
    assert (copy / "link").readlink() == Path("folder")
    assert (copy / "empty").stat().st_mtime_ns == 1_600_000_000_123_456_789


async def test_an_archive_of_nothing(guest: Guest, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="missing"):
        async for _ in guest.read_archive(str(tmp_path / "missing")):
            pass


async def test_what_is_no_archive(guest: Guest, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="not a tar archive"):
        await guest.write_archive(str(tmp_path), one(b"x" * 2_000_000))
    with pytest.raises(GuestError, match="truncated"):
        await guest.write_archive(str(tmp_path), one(b"x" * 100))


async def test_an_archive_stays_in_its_folder(guest: Guest, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, link in (("up", ".."), ("absolute", "/")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
        for name in ("../escaped1", "up/escaped2", "absolute/escaped3", "/escaped4"):
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, io.BytesIO(b"hi"))
    target = tmp_path / "in" / "here"
    await guest.write_archive(str(target), one(buffer.getvalue()))
    inside, outside = found(target), found(tmp_path) - found(target)
    assert outside == set()
    assert {path.name for path in inside} == {"escaped1", "escaped2", "escaped3", "escaped4"}


def found(folder: Path) -> set[Path]:
    return set(folder.rglob("escaped*"))


async def test_stats_and_time(guest: Guest) -> None:
    stats = await guest.stats()
    assert stats.memory_total > stats.memory_available > 0
    assert stats.uptime_ns > 0
    assert stats.tasks >= stats.processes > 1
    assert stats.memory_total > stats.memory_free > 0
    assert 0 < stats.memory_shared <= stats.memory_cached
    assert stats.memory_anonymous > 0
    await guest.set_time(1_700_000_000_000_000_000)


async def test_shutdown_ends_what_runs(guest: Guest) -> None:
    stubborn = await guest.spawn(
        ProcessSpec(argv=("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"), env=PATH)
    )
    assert await stubborn.stdout.read() == b"up\n"
    await guest.shutdown(grace=0.2)
    assert (await stubborn.wait()).signal == 9
