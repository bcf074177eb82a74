"""The SDK with asyncio against a daemon that serves, in one sandbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from monocore_core.client import Client, CommandFailed, Sandbox
from monocore_core.errors import CommandNotFound, ConfigError, DeadlineExceeded, NotFound, Unreachable

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SOON = 60.0


@pytest.fixture
async def client(socket: Path) -> AsyncGenerator[Client]:
    async with await Client.connect(f"unix://{socket}") as client:
        yield client


@pytest.fixture
async def shared(client: Client, sandbox: str) -> Sandbox:
    return await client.get(sandbox)


async def test_a_command_is_collected(shared: Sandbox) -> None:
    script = 'cat; echo " $LEVEL $(pwd)"; echo complaint >&2; exit 3'
    result = await shared.run("sh", "-c", script, stdin="héllo", environ={"LEVEL": "9"}, cwd="/tmp")
    assert (result.code, result.reason, result.ok) == (3, "exited", False)
    assert (result.stdout, result.stderr) == ("héllo 9 /tmp\n", "complaint\n")
    data = bytes(range(256))
    assert (await shared.run("cat", stdin=data)).stdout_bytes == data
    with pytest.raises(CommandFailed, match="complaint") as caught:
        await shared.run("sh", "-c", script, check=True)
    assert caught.value.result.code == 3
    with pytest.raises(CommandNotFound):
        await shared.run("no-such-program")
    with pytest.raises(DeadlineExceeded):
        await shared.run("sleep", "3210", timeout=0.2, check=True)


async def test_cancelling_a_command_ends_it(shared: Sandbox) -> None:
    running = asyncio.create_task(shared.run("sleep", "8765"))
    await until(shared, "sleep 8765", there=True)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(shared, "sleep 8765", there=False)


async def test_a_process_has_streams_and_signals(shared: Sandbox) -> None:
    async with await shared.exec("sh", "-c", "cat; echo done >&2; exit 4", stream=True) as process:
        for piece in ("one\n", "two\n"):
            await process.write(piece)
            assert (await process.stdout.read()).decode() == piece
        await process.close_stdin()
        out, err = await asyncio.gather(process.stdout.read_all(), process.stderr.read_all())
        assert (out, err) == (b"", b"done\n")
        assert (await process.wait()).code == 4
    async with await shared.exec("sleep", "7654") as process:
        await process.signal(15)
        assert (await process.wait()).code == 128 + 15
    with pytest.raises(CommandNotFound):
        await shared.exec("no-such-program")


async def test_leaving_a_process_ends_it(shared: Sandbox) -> None:
    async with await shared.exec("sleep", "6543"):
        await until(shared, "sleep 6543", there=True)
    await until(shared, "sleep 6543", there=False)


async def test_a_terminal_is_one_and_changes_its_size(shared: Sandbox) -> None:
    async with await shared.pty(rows=30, columns=90) as shell:
        await shell.write("tty; stty size\n")
        await heard(shell.stdout.read, b"30 90")
        await shell.resize(31, 91)
        await shell.write("stty size; exit 7\n")
        await heard(shell.stdout.read, b"31 91")
        assert (await shell.wait()).code == 7


async def test_files(shared: Sandbox, tmp_path: Path) -> None:
    files = shared.files
    await files.make("/tmp/a/b", parents=True)
    data = os.urandom(700_001)
    await files.write("/tmp/a/b/data", data, mode=0o600)
    assert await files.read("/tmp/a/b/data") == data
    entry = await files.stat("/tmp/a/b/data")
    assert (entry.kind, entry.mode, entry.size) == ("file", 0o600, len(data))
    await files.move("/tmp/a/b/data", "/tmp/a/moved %2f+é")
    assert [one.name for one in await files.list("/tmp/a")] == ["b", "moved %2f+é"]
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "x").write_text("x")
    await files.upload(tmp_path / "in", "/tmp/a/in")
    await files.download("/tmp/a", tmp_path / "out")
    assert (tmp_path / "out" / "in" / "sub" / "x").read_text() == "x"
    assert (tmp_path / "out" / "moved %2f+é").read_bytes() == data
    await files.upload(tmp_path / "in" / "sub" / "x", "/tmp/a/new/x")
    await files.download("/tmp/a/new/x", tmp_path / "x")
    assert (tmp_path / "x").read_text() == "x"
    await files.remove("/tmp/a", recursive=True)
    with pytest.raises(NotFound):
        await files.stat("/tmp/a")


async def test_a_watch_tells(shared: Sandbox) -> None:
    await shared.files.make("/tmp/watched")
    async with aclosing(shared.files.watch("/tmp/watched")) as changes:
        first = asyncio.ensure_future(anext(changes))
        for number in range(
            1000
        ):  # the watch begins when the daemon answers, which nothing tells from outside
            await shared.files.write(f"/tmp/watched/{number}", "x")
            if first.done():
                break
        change = await asyncio.wait_for(first, SOON)
    assert change.kind in ("created", "written", "moved-to", "modified", "moved-from")


async def test_a_port_is_exposed_without_a_network(shared: Sandbox) -> None:
    async with (
        await shared.exec("nc", "-l", "-p", "8080", "-e", "cat"),
        await shared.expose(8080) as forward,
    ):
        payload = os.urandom(300_000)
        answer = b""
        for _ in range(100):
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            try:
                writer.write(payload)
                writer.write_eof()
                answer = await asyncio.wait_for(reader.read(-1), SOON)
            except ConnectionError:  # nobody listens there yet
                continue
            finally:
                writer.close()
            if answer:
                break
        assert answer == payload
    async with await shared.expose(8080) as forward:
        reader, writer = await asyncio.open_connection(forward.host, forward.port)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()
        assert isinstance(forward.error, Unreachable)


async def test_code_is_run(shared: Sandbox) -> None:
    result = await shared.run_code("shell", "echo out; mkdir sub; echo x > sub/made; echo err >&2; exit 5")
    assert (result.result.code, result.stdout, result.stderr, result.files) == (
        5,
        "out\n",
        "err\n",
        ("sub/made",),
    )
    assert await shared.files.read_text(f"{result.folder}/sub/made") == "x\n"
    with pytest.raises(CommandNotFound):
        await shared.run_code("javascript", "1")


async def test_a_sandbox_of_its_own_is_gone_afterwards(socket: Path, image: str, client: Client) -> None:
    async with Sandbox.create(
        image,
        url=f"unix://{socket}",
        command=["sh", "-c", "echo hello; sleep 1000"],
        memory="192MiB",
        labels={"of": "sdk"},
    ) as sandbox:
        async with aclosing(sandbox.logs(follow=True)) as lines:
            assert (await asyncio.wait_for(anext(lines), SOON)).text == "hello"
        assert [one.id for one in await client.list(labels={"of": "sdk"})] == [sandbox.id]
        assert sandbox.info.memory == 192 * 1024 * 1024
        assert await sandbox.stats()
        await sandbox.kill("TERM")
        assert (await asyncio.wait_for(sandbox.wait(), SOON)).code == 128 + 15
        assert (await sandbox.refresh()).end is not None
    with pytest.raises(NotFound):
        await client.get(sandbox.id)
    kinds = {one.kind async for one in client.events(after=0, follow=False) if one.sandbox == sandbox.id}
    assert kinds


async def test_creation_that_is_cancelled_leaves_none(image: str, client: Client) -> None:
    creating = asyncio.ensure_future(client.create(image, name="never", labels={"of": "cancel"}).__aenter__())
    for _ in range(10_000):
        if await client.list(everything=True, labels={"of": "cancel"}):
            break
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    async with asyncio.timeout(SOON):
        while await client.list(everything=True, labels={"of": "cancel"}):
            pass


async def test_images(client: Client, image: str) -> None:
    told: list[object] = []
    pulled = await client.images.pull(image, on_event=told.append)
    assert told
    assert pulled["digest"] in [one["digest"] for one in await client.images.list()]
    assert "config" in await client.images.inspect(image)
    with pytest.raises(NotFound):
        await client.images.remove("nowhere/nothing:1")


async def test_wrong_wishes_are_told_all_at_once(client: Client, image: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await client.create(image, memory="3", cpus=-1)
    assert len(caught.value.problems) == 2


async def heard(read: Callable[[], Awaitable[bytes]], words: bytes) -> None:
    found = b""
    async with asyncio.timeout(SOON):
        while words not in found:
            data = await read()
            assert data, found
            found += data


async def until(sandbox: Sandbox, command: str, *, there: bool) -> None:
    async with asyncio.timeout(SOON):
        while (command in (await sandbox.run("ps", "-o", "args")).stdout) is not there:
            pass
