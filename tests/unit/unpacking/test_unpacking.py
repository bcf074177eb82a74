"""Decompression in jails, for real: the same bytes come out as without, and what is damaged ends a worker and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import stat
from functools import partial
from pathlib import Path

import pytest
from backports.zstd import ZstdCompressor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monocore_core.concurrency import in_thread
from monocore_core.errors import Corrupt, DeadlineExceeded, LimitExceeded, MonocoreError, Unsupported
from monocore_core.inflate import BLOCK, SniffingInflater
from monocore_core.model.events import Event, Warned
from monocore_core.model.security import JailMode, Layer, Security
from monocore_core.testing.processes import settled
from monocore_core.unpacking import process, service
from monocore_core.unpacking.confine import Program, program
from monocore_core.unpacking.process import Worker
from monocore_core.unpacking.service import Session, Unpackers

pytestmark = pytest.mark.needs("gcc", "gcc")
PATIENCE = 60.0
#: More than the pipes hold, and not a whole number of blocks.
LARGE = os.urandom(1000) * 5000 + bytes(2 * BLOCK) + b"end"


@pytest.fixture
def unpackers(tmp_path: Path) -> Unpackers:
    def told(event: Event) -> None:
        raise AssertionError(event)

    return Unpackers(Security(), tmp_path / "cache", tmp_path, told)


async def through(worker: Worker, data: bytes, *, piece: int = 512 * 1024) -> bytes:
    """What a stream is, uncompressed."""

    def send() -> None:
        for start in range(0, len(data), piece):
            worker.send(data[start : start + piece])
        worker.finish()

    def receive() -> bytes:
        found = b""
        room = bytearray(BLOCK)
        while block := worker.receive(room):
            assert len(block) <= BLOCK
            found += block
        return found

    async with asyncio.timeout(PATIENCE):
        sending = asyncio.create_task(in_thread(send, stop=worker.kill))
        try:
            return await in_thread(receive, stop=worker.kill)
        finally:
            await sending


async def once(session: Session, data: bytes, *, piece: int = 512 * 1024, doomed: bool = False) -> bytes:
    """The same, by a worker that the session has or starts; ``doomed``: which is killed before."""
    async with session.worker() as worker:
        assert worker is not None
        if doomed:
            os.kill(worker.pid, signal.SIGKILL)
        return await through(worker, data, piece=piece)


def inflated(data: bytes) -> bytes:
    """The same by ourselves."""
    inflater = SniffingInflater()
    found = b"".join(inflater.feed(data))
    inflater.finish()
    return found


async def test_streams_of_every_kind_one_after_the_other(unpackers: Unpackers) -> None:
    zstd = ZstdCompressor()
    streams = {
        "gzip": gzip.compress(LARGE, 1),
        "two members": gzip.compress(b"first ") + gzip.compress(b"second"),
        "zstd": zstd.compress(LARGE, ZstdCompressor.FLUSH_FRAME),
        "plain": LARGE,
    }
    async with unpackers.session() as session:
        session.begin()
        async with session.worker() as worker:
            assert worker is not None
            assert worker.layers >= {Layer.USER, Layer.LIMITS, Layer.CAPABILITIES}
            for data in streams.values():
                assert await through(worker, data) == inflated(data)
        async with session.worker() as again:
            assert again is worker


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"]),
    st.integers(1, 300),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end_as_they_would_without(
    unpackers: Unpackers, data: bytes, head: bytes, piece: int
) -> None:
    async def both() -> None:
        expected: bytes | MonocoreError
        try:
            expected = inflated(head + data)
        except MonocoreError as error:
            expected = error
        async with unpackers.session() as session:
            if isinstance(expected, bytes):
                assert await once(session, head + data, piece=piece) == expected
            else:
                with pytest.raises(type(expected), match=re.escape(expected.brief)):
                    await once(session, head + data, piece=piece)

    asyncio.run(both())


async def test_one_that_is_damaged_ends_its_worker_and_the_next_stream_gets_another(
    unpackers: Unpackers,
) -> None:
    good = gzip.compress(LARGE, 1)
    async with unpackers.session() as session:
        with pytest.raises(Corrupt, match="ends early"):
            await once(session, good[:-9])
        assert await once(session, good) == LARGE


async def test_what_takes_more_memory_than_is_given_is_refused(
    unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monocore_core.unpacking.confine._MEMORY", 96 << 20)
    frame = b"\x28\xb5\x2f\xfd\x00\x88" + b"\0" * 200_000  # a window of 128 MiB
    async with unpackers.session() as session:
        with pytest.raises((LimitExceeded, Corrupt)):
            await once(session, frame)


async def test_one_that_is_killed_and_one_whose_work_is_cancelled(unpackers: Unpackers) -> None:
    async with unpackers.session() as session:
        with pytest.raises(Corrupt, match="ends the process that does it"):
            await once(session, gzip.compress(LARGE, 1), doomed=True)
        started = asyncio.Event()

        async def waiting() -> None:
            async with session.worker() as worker:
                assert worker is not None
                started.set()
                await in_thread(partial(worker.receive, bytearray(BLOCK)), stop=worker.kill)

        task = asyncio.create_task(waiting())
        async with asyncio.timeout(PATIENCE):
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_one_that_stands_still_is_not_waited_for_and_one_that_has_nothing_to_do_is(
    unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = gzip.compress(LARGE)
    async with unpackers.session() as session, session.worker() as worker:
        assert worker is not None
        waiting = asyncio.create_task(in_thread(partial(worker.receive, bytearray(BLOCK)), stop=worker.kill))
        worker.send(packed[:5])  # in which there is no block yet
        busy = worker._owes  # pyright: ignore[reportPrivateUsage] - nobody tells that a slot is empty
        assert not await settled(busy, lambda owes: not owes, PATIENCE)
        with monkeypatch.context() as patch:
            patch.setattr(process, "PATIENCE", 0.3)
            await asyncio.sleep(1)
            assert not waiting.done()
        worker.send(packed[5:])
        worker.finish()
        found = bytes(await waiting)
        while block := await in_thread(partial(worker.receive, bytearray(BLOCK)), stop=worker.kill):
            found += block
        assert found == LARGE
        os.kill(worker.pid, signal.SIGSTOP)
        worker.send(packed)
        monkeypatch.setattr(process, "PATIENCE", 0.3)
        with pytest.raises(DeadlineExceeded, match="standstill"):
            await in_thread(partial(worker.receive, bytearray(BLOCK)), stop=worker.kill)


async def test_where_jails_are_off_we_do_it_ourselves(tmp_path: Path) -> None:
    events: list[Event] = []
    unpackers = Unpackers(Security(JailMode.OFF), tmp_path / "cache", tmp_path, events.append)
    async with unpackers.session() as session, session.worker() as worker:
        assert worker is None
    assert not events


async def test_where_it_does_not_start_we_do_it_ourselves_and_say_so_unless_a_jail_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_errors() -> Program:
        found = program()
        return Program(found.binary, found.standard, found.packages[1:])

    monkeypatch.setattr(service, "program", without_errors)
    events: list[Event] = []
    unpackers = Unpackers(Security(), tmp_path / "cache", tmp_path, events.append)
    async with unpackers.session() as session:
        for _ in range(2):
            async with session.worker() as worker:
                assert worker is None
    (told,) = events
    assert isinstance(told, Warned)
    assert "decompressed by monocore's own process" in told.text
    assert "No module named 'monocore_core'" in told.text
    strict = Unpackers(Security(require=(Layer.SECCOMP,)), tmp_path / "cache", tmp_path, events.append)
    async with strict.session() as session:
        with pytest.raises(Unsupported, match="requires of a jail: seccomp"):
            await once(session, b"")


async def test_a_python_that_others_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a root's with a strict umask installs: then the worker keeps root's id, in a namespace that has nobody else."""
    real = program()
    assert real.readable() == all(
        path.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH) for _, path in real.packages
    )

    def hidden(_: Program) -> bool:
        return False

    monkeypatch.setattr(Program, "readable", hidden)
    unpackers = Unpackers(Security(), tmp_path / "cache", tmp_path, lambda _: None)
    async with unpackers.session() as session, session.worker() as worker:
        assert worker is not None
        assert await through(worker, gzip.compress(LARGE, 1)) == LARGE
