"""The log store: crashes, followers, limits, a full disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.errors import Conflict, InvalidInput
from monocore_core.logs import (
    LogLimits,
    LogLine,
    LogQuery,
    LogRecord,
    LogStore,
    Stream,
    render_json,
    render_raw,
    render_text,
)
from monocore_core.logs.lines import MAX_LINE, Lines
from monocore_core.logs.segments import numbers, path_of

OUT, ERR, NOTE = Stream.STDOUT, Stream.STDERR, Stream.NOTE
EVERYTHING = LogQuery(streams=frozenset(Stream))
DAY = 86400 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs", LogLimits(segment_bytes=4096, sandbox_bytes=1 << 16))


def raw(store: LogStore, query: LogQuery = EVERYTHING) -> bytes:
    return b"".join(map(render_raw, store.reader("a").records(query)))


WRITER = """
import sys, time
from pathlib import Path
from monocore_core.logs import LogLimits, LogStore, Stream

log = LogStore(Path(sys.argv[1]), LogLimits(segment_bytes=8192)).open("a")
position = 0
while True:
    data = b"".join(b"%d\\n" % (position // 8 + n) for n in range(5)).ljust(40, b".")
    position = log.append("1", Stream.STDOUT, position, data, time_ns=time.time_ns())
    if position == 40 * 500:
        print("running", flush=True)
"""


def test_a_killed_writer_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"running\n"
        store = LogStore(tmp_path, LogLimits(segment_bytes=8192))
        with pytest.raises(Conflict):
            store.open("a")
        while_written = list(store.reader("a").records(LogQuery()))
        child.send_signal(signal.SIGKILL)
    with store.open("a") as log:
        position = log.written("1", OUT)
        assert position >= 40 * 500
        log.append("1", OUT, position - 40, b"x" * 50, time_ns=time.time_ns())
    records = list(store.reader("a").records(LogQuery()))
    assert records[: len(while_written)] == while_written
    at = 0
    for record in records:
        assert record.offset == at
        at += len(record.data)
    assert at == position + 10


def test_how_far_each_stream_is_comes_from_the_last_segment_alone(store: LogStore, tmp_path: Path) -> None:
    with store.open("a") as log:
        log.append("1", ERR, 0, b"early", time_ns=1)
        for number in range(100):
            log.append("2", OUT, number * 100, b"x" * 100, time_ns=2)
    folder = tmp_path / "logs" / "a"
    present = numbers(folder)
    assert len(present) > 2
    for number in present[:-1]:
        path_of(folder, number).unlink()
    with store.open("a") as log:
        assert (log.written("1", ERR), log.written("2", OUT), log.written("3", OUT)) == (5, 10000, 0)


def test_damage_is_left_out_and_costs_its_segment_at_most(store: LogStore, tmp_path: Path) -> None:
    with store.open("a") as log:
        for number in range(200):
            log.append("1", OUT, number * 100, b"%099d\n" % number, time_ns=number + 1)
    folder = tmp_path / "logs" / "a"
    with path_of(folder, numbers(folder)[1]).open("r+b") as file:
        file.seek(2000)
        file.write(b"\xff\xff\xff\xff")
    found = [int(line.data) for line in store.reader("a").lines(LogQuery())]
    assert found == sorted(found)
    assert 160 < len(found) < 200
    assert (found[0], found[-1]) == (0, 199)


def test_lines_of_interleaved_streams_runs_and_pieces(store: LogStore) -> None:
    with store.open("a") as log:
        log.append("1", OUT, 0, b"ab", time_ns=1)
        log.append("1", ERR, 0, b"x\n\n", time_ns=2)
        log.append("1", OUT, 2, b"c\nprompt", time_ns=3)
        log.note("1", "exited with 1", time_ns=4)
        log.end("1", OUT, time_ns=5)
        log.append("2", OUT, 0, b"\xff\n> ", time_ns=6)
    lines = [
        (line.data, line.stream, line.offset, line.complete) for line in store.reader("a").lines(EVERYTHING)
    ]
    assert lines == [
        (b"x", ERR, 0, True),
        (b"", ERR, 2, True),
        (b"abc", OUT, 0, True),
        (b"exited with 1", NOTE, 0, True),
        (b"prompt", OUT, 4, False),
        (b"\xff", OUT, 0, True),
        (b"> ", OUT, 2, False),
    ]
    for count in range(9):
        tail = store.reader("a").lines(LogQuery(streams=frozenset(Stream), tail=count))
        assert [line.data for line in tail] == [data for data, *_ in lines][
            len(lines) - count if count < 8 else 0 :
        ]
    assert raw(store, LogQuery(tail=2, label="1")) == b"abc\nprompt"
    assert raw(store, LogQuery(since_ns=2, until_ns=3)) == b"x\n\nc\nprompt"
    assert raw(store, LogQuery(streams=frozenset({ERR}))) == b"x\n\n"
    assert raw(store, LogQuery(tail=0)) == b""


def test_what_is_asked_from_a_time_on_reads_no_older_segment(store: LogStore, tmp_path: Path) -> None:
    with store.open("a") as log:
        for number in range(200):
            log.append("1", OUT, number * 100, b"%099d\n" % number, time_ns=number + 1)
    folder = tmp_path / "logs" / "a"
    with path_of(folder, numbers(folder)[0]).open("r+b") as file:
        file.truncate(0)  # were it read, its end would be looked for
    found = [int(line.data) for line in store.reader("a").lines(LogQuery(since_ns=150))]
    assert found == list(range(149, 200))


def test_a_long_line_comes_in_pieces_and_raw_is_exact() -> None:
    data = b"y" * (2 * MAX_LINE + 5) + b"\nz\n"
    records = [LogRecord(OUT, 1, "1", at, data[at : at + 60000]) for at in range(0, len(data), 60000)]
    lines = Lines()
    found = [line for record in records for line in lines.feed(record)]
    assert [(len(line.data), line.complete) for line in found] == [
        (MAX_LINE, False),
        (MAX_LINE, False),
        (5, True),
        (1, True),
    ]
    assert b"".join(map(render_raw, found)) == data


def test_many_unfinished_lines_are_bounded() -> None:
    lines = Lines()
    found = [line for n in range(1000) for line in lines.feed(LogRecord(OUT, 1, str(n), 0, b"a"))]
    assert len(found) == 1000 - 64
    assert len(list(lines.flush())) == 64


def test_formats() -> None:
    line = LogLine(ERR, 1_700_000_000_123_456_789, "1", 7, "grüße".encode())
    assert render_text(line) == "grüße\n".encode()
    assert render_text(line, timestamps=True) == "2023-11-14T22:13:20.123456789Z grüße\n".encode()
    told = json.loads(render_json(line))
    assert told == {
        "time": "2023-11-14T22:13:20.123456789Z",
        "stream": "stderr",
        "label": "1",
        "offset": 7,
        "log": "grüße",
    }
    told = json.loads(render_json(LogLine(OUT, 0, "1", 0, b"\xff\x00", complete=False)))
    assert told["base64"] == "/wA="
    assert told["partial"]
    assert "log" not in told


async def collected(lines: asyncio.Queue[bytes], store: LogStore, query: LogQuery) -> None:
    async for line in store.reader("a").follow_lines(query):
        lines.put_nowait(line.data)
    lines.put_nowait(b"END")


async def test_followers_are_woken_and_end_with_the_log(store: LogStore) -> None:
    log = store.open("a")
    log.append("1", OUT, 0, b"one\ntwo\nthr", time_ns=1)
    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(2)]
    queries = [LogQuery(), LogQuery(tail=1)]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for queue, query in zip(queues, queries, strict=True):
            group.create_task(collected(queue, store, query))
        assert [await queues[0].get() for _ in range(2)] == [b"one", b"two"]
        log.append("1", OUT, 11, b"ee\n", time_ns=2)
        assert await queues[0].get() == b"three"
        assert await queues[1].get() == b"three"
        thread = threading.Thread(target=lambda: log.append("1", OUT, 14, b"x" * 6000 + b"\n", time_ns=3))
        thread.start()
        assert [len(await queue.get()) for queue in queues] == [6000, 6000]
        thread.join()
        log.append("1", OUT, 6015, b"last", time_ns=4)
        log.close()
        for queue in queues:
            assert [await queue.get() for _ in range(2)] == [b"last", b"END"]


async def test_following_raw_bytes_does_not_wait_for_a_newline(store: LogStore) -> None:
    log = store.open("a")
    log.append("1", OUT, 0, b"one\n> ", time_ns=1)
    async with asyncio.timeout(30):
        records = store.reader("a").follow_records(LogQuery(tail=2))
        assert [(await anext(records)).data for _ in range(2)] == [b"one\n", b"> "]
        log.append("1", OUT, 6, b"yes", time_ns=2)
        assert (await anext(records)).data == b"yes"
        waiting = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        log.close()
        old = [record.data async for record in store.reader("a").follow_records(LogQuery(until_ns=1))]
        assert old == [b"one\n> "]


async def test_following_until_a_time_ends_then(store: LogStore) -> None:
    with store.open("a") as log:
        log.append("1", OUT, 0, b"one\n", time_ns=1)
        until = time.time_ns() + 50_000_000
        async with asyncio.timeout(30):
            found = [line.data async for line in store.reader("a").follow_lines(LogQuery(until_ns=until))]
        assert found == [b"one"]
        assert time.time_ns() >= until


async def test_a_follower_slower_than_rotation_goes_on_with_what_is_there(tmp_path: Path) -> None:
    store = LogStore(tmp_path, LogLimits(segment_bytes=4096, sandbox_bytes=8192))
    log = store.open("a")
    log.append("1", OUT, 0, b"first\n", time_ns=1)
    async with asyncio.timeout(30):
        lines = store.reader("a").follow_lines(LogQuery())
        assert (await anext(lines)).data == b"first"
        for number in range(1000):
            log.append("1", OUT, 6 + number * 10, b"%09d\n" % number, time_ns=2)
        log.close()
        found = [int(line.data) async for line in lines]
    assert found[-1] == 999
    assert found[-100:] == list(range(900, 1000))


def test_sweeping_by_age_spares_what_is_written_and_what_is_young(tmp_path: Path) -> None:
    store = LogStore(tmp_path, LogLimits(segment_bytes=4096, age=86400.0))
    now = time.time_ns()
    with store.open("a") as log:
        for number in range(100):
            log.append("1", OUT, number * 100, b"x" * 100, time_ns=now)
        present = numbers(tmp_path / "a")
        assert store.sweep(now).segments == 0
        assert store.sweep(now + 2 * DAY).segments == len(present)
        assert numbers(tmp_path / "a") == [present[-1] + 1]  # empty, and it knows how far the streams are
        assert raw(LogStore(tmp_path, LogLimits())) == b""
        assert log.append("1", OUT, 9990, b"x" * 20, time_ns=now + 2 * DAY) == 10010
    store.open("b").close()
    assert store.sweep(time.time_ns() + 2 * DAY).segments == 1
    assert store.keys() == []


def test_sweeping_by_size_takes_the_oldest_of_all(tmp_path: Path) -> None:
    store = LogStore(tmp_path, LogLimits(segment_bytes=4096, total_bytes=60_000))
    for key in ("old", "new"):
        with store.open(key) as log:
            for number in range(300):
                log.append("1", OUT, number * 100, b"x" * 100, time_ns=1)
        for number in numbers(tmp_path / key):
            os.utime(path_of(tmp_path / key, number), ns=(1, number if key == "old" else 1000 + number))
    whole = numbers(tmp_path / "new")
    swept = store.sweep(1)
    assert swept.segments > 3
    assert store.size() <= 60_000
    assert numbers(tmp_path / "new") == whole
    assert 0 < len(numbers(tmp_path / "old")) < len(whole)


def test_a_log_is_removed_unless_it_is_written(store: LogStore) -> None:
    log = store.open("a")
    with pytest.raises(Conflict):
        store.remove("a")
    log.close()
    store.remove("a")
    store.remove("a")
    assert store.keys() == []
    with pytest.raises(Conflict, match="closed"):
        log.note("1", "late", time_ns=1)
    for key in ("", "../a", ".hidden", "a/b", "x" * 129):
        with pytest.raises(InvalidInput):
            store.open(key)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "monocore-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.root
def test_a_full_disk_costs_the_oldest_then_the_newest_and_is_told(small_disk: Path) -> None:
    store = LogStore(small_disk / "logs", LogLimits(segment_bytes=32768))
    with store.open("a") as log:
        for number in range(600):
            assert (
                log.append("1", OUT, number * 1000, b"%999d\n" % number, time_ns=number)
                == (number + 1) * 1000
            )
        kept = [int(line.data) for line in store.reader("a").lines(LogQuery())]
        assert kept == list(range(kept[0], 600))
        assert 100 < len(kept) < 256
        full = small_disk / "full"
        with full.open("wb", buffering=0) as file:
            for _ in range(64):  # somebody else takes what is free, and then what our segments gave
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    log.append("1", OUT, log.written("1", OUT), b"y" * 999 + b"\n", time_ns=700)
        at = log.written("1", OUT)
        assert at == 664_000
        full.unlink()
        log.append("1", OUT, at, b"after\n", time_ns=800)
    notes = [line.data.decode() for line in store.reader("a").lines(LogQuery(streams=frozenset({NOTE})))]
    assert any("bytes of stdout were dropped" in note for note in notes), notes
    assert any("old segments were removed" in note for note in notes), notes
    lines = list(store.reader("a").lines(LogQuery()))
    assert lines[-1].data == b"after"
    with store.open("a") as log:
        assert log.written("1", OUT) == at + 6
