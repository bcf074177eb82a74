import asyncio
import contextlib
import fcntl
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.cli.descriptors import CHUNK, OutputClosed, read_some, write_all
from monocore_core.cli.pump import Outflow, Worker, drain, pump_in
from monocore_core.errors import StorageError


class Source:
    """A stream fed by the test; what was taken shows its backpressure."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.taken = 0
        self.started = asyncio.Event()

    async def read(self, limit: int) -> bytes:
        data = await self.queue.get()
        assert len(data) <= limit
        self.taken += len(data)
        self.started.set()
        return data


class Sink:
    """Takes what is written when the test says so."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False
        self.open_gate = asyncio.Event()
        self.open_gate.set()

    async def write(self, data: bytes) -> None:
        await self.open_gate.wait()
        self.data += data

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """[read end, write end]; a test that closes one sets it to -1."""
    ends = list(os.pipe())
    try:
        yield ends
    finally:
        for fd in ends:
            if fd >= 0:
                os.close(fd)


def _read_all(fd: int, into: bytearray) -> None:
    while data := os.read(fd, 65536):
        into.extend(data)


def _fill(fd: int) -> int:
    written = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            written += os.write(fd, b"x" * 4096)
    return written


def _feed(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)


def _send(far: socket.socket, data: bytes) -> None:
    far.sendall(data)
    far.shutdown(socket.SHUT_WR)


async def test_output_is_exact_and_in_order(pipe: list[int]) -> None:
    data = random.Random(1).randbytes(3_000_000)
    got = bytearray()
    reader = threading.Thread(target=_read_all, args=(pipe[0], got))
    reader.start()
    source = Source()
    outflow = Outflow(source, pipe[1])
    for start in range(0, len(data), 200_001):
        source.queue.put_nowait(data[start : start + 200_001])
    source.queue.put_nowait(b"")
    await outflow.task
    os.close(pipe[1])
    pipe[1] = -1
    await asyncio.to_thread(reader.join, 30)
    assert bytes(got) == data


async def test_a_reader_that_stalls_holds_the_source_back_and_not_the_loop(pipe: list[int]) -> None:
    source = Source()
    for _ in range(10):
        source.queue.put_nowait(b"x" * 200_000)
    source.queue.put_nowait(b"")
    outflow = Outflow(source, pipe[1])
    await source.started.wait()
    for _ in range(100):  # the loop is alive, and nothing further is taken
        await asyncio.sleep(0)
    assert source.taken == 200_000
    assert outflow.silence is None
    got = bytearray()
    reader = threading.Thread(target=_read_all, args=(pipe[0], got))
    reader.start()
    await outflow.task
    os.close(pipe[1])
    pipe[1] = -1
    await asyncio.to_thread(reader.join, 30)
    assert len(got) == 2_000_000


async def test_a_reader_that_went_away_is_told_as_such(pipe: list[int]) -> None:
    os.close(pipe[0])
    pipe[0] = -1
    source = Source()
    source.queue.put_nowait(b"x")
    with pytest.raises(OutputClosed):
        await Outflow(source, pipe[1]).task


async def test_a_full_disk_is_a_storage_error() -> None:
    source = Source()
    source.queue.put_nowait(b"x")
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(StorageError, match="No space left"):
        await Outflow(source, full).task
    os.close(full)


async def test_draining_ends_when_a_child_keeps_the_stream_open(pipe: list[int]) -> None:
    source = Source()
    source.queue.put_nowait(b"last words")
    outflow = Outflow(source, pipe[1])
    await asyncio.wait_for(drain([outflow], 0.05), 10)
    assert os.read(pipe[0], 100) == b"last words"
    assert not outflow.task.done()
    outflow.task.cancel()


async def test_draining_waits_for_a_slow_reader(pipe: list[int]) -> None:
    source = Source()
    source.queue.put_nowait(b"x" * 200_000)
    source.queue.put_nowait(b"")
    outflow = Outflow(source, pipe[1])
    draining = asyncio.create_task(drain([outflow], 0.02))
    done, _ = await asyncio.wait([draining], timeout=0.2)
    assert not done
    left = 200_000
    while left:
        left -= len(await asyncio.to_thread(os.read, pipe[0], left))
    await asyncio.wait_for(draining, 10)


@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
async def test_input_is_exact_whatever_it_comes_from(kind: str, pipe: list[int], tmp_path: Path) -> None:
    data = random.Random(2).randbytes(1_000_000)
    sink = Sink()
    if kind == "file":
        (tmp_path / "input").write_bytes(data)
        with (tmp_path / "input").open("rb") as stream:
            await pump_in(stream.fileno(), sink)
    elif kind == "socket":
        near, far = socket.socketpair()
        with near, far:
            writer = threading.Thread(target=_send, args=(far, data))
            writer.start()
            await pump_in(near.fileno(), sink)
            writer.join(30)
    else:
        writer = threading.Thread(target=_feed, args=(pipe[1], data))
        writer.start()
        await pump_in(pipe[0], sink)
        writer.join(30)
        pipe[1] = -1
    assert bytes(sink.data) == data
    assert sink.closed


async def test_input_is_not_read_while_the_guest_does_not_take_it(pipe: list[int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    _fill(pipe[1])
    sink = Sink()
    sink.open_gate.clear()
    pumping = asyncio.create_task(pump_in(pipe[0], sink))
    await asyncio.wait([pumping], timeout=0.1)
    assert _fill(pipe[1]) <= CHUNK
    assert not sink.data
    pumping.cancel()
    await asyncio.wait([pumping])


def test_a_non_blocking_descriptor_is_waited_for(pipe: list[int]) -> None:
    for fd in pipe:
        os.set_blocking(fd, False)
    data = b"y" * 500_000
    writer = threading.Thread(target=write_all, args=(pipe[1], data))
    writer.start()
    got = 0
    while got < len(data):
        got += len(read_some(pipe[0]))
    writer.join(30)
    assert not writer.is_alive()
    assert not os.get_blocking(pipe[0])


async def test_an_abandoned_call_ends_quietly(pipe: list[int]) -> None:
    worker = Worker("test")
    call = asyncio.create_task(worker.run(lambda: os.read(pipe[0], 1)))
    await asyncio.wait([call], timeout=0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    os.write(pipe[1], b"x")
    assert await worker.run(lambda: 7) == 7
    worker.close()
