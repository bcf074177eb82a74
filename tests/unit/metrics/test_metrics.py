"""Figures: the kernel's files, rates, the history, the sampler, Prometheus' text."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import Corrupt, GuestError, NotFound
from monocore_core.metrics import (
    History,
    HostFigures,
    Labelled,
    Rates,
    Sample,
    Sampler,
    Target,
    prometheus,
    rates,
)
from monocore_core.metrics.host import add_up, read_process
from monocore_core.metrics.parse import (
    Stat,
    parse_colons,
    parse_kilobytes,
    parse_stat,
)
from monocore_core.metrics.starts import MAX_NAMES, OTHER, Starts
from monocore_core.model.guest import GuestStats
from monocore_core.model.pool import PoolShape

SECOND = 1_000_000_000


def guest(value: int) -> GuestStats:
    return GuestStats(*([value] * len(attrs.fields(GuestStats))))


def test_files_of_a_process() -> None:
    line = b"42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 23 99 99 20 0 5 0 123456 3133440 364\n"
    assert parse_stat(line) == Stat("S", 123, 5, 123456, 364)
    status = b"Name:\tqemu kB\nVmRSS:\t    1636 kB\nThreads:\t5\nVmSwap:\t0 kB\n"
    assert parse_kilobytes(status) == {"VmRSS": 1636 * 1024, "VmSwap": 0}
    rollup = b"5624-7ffc ---p 00000000 00:00 0   [rollup]\nRss:  16 kB\nPss:   4 kB\nPss_Anon:   1 kB\n"
    assert parse_kilobytes(rollup)["Pss"] == 4096
    io = b"rchar: 7277\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n"
    assert parse_colons(io)["write_bytes"] == 8192


@pytest.mark.parametrize("data", [b"", b"1 (a) S", b"1 (a) S 1 2 x", b"\xff"])
def test_a_stat_file_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        parse_stat(data)


@given(st.binary(max_size=300))
def test_no_file_breaks_a_parser(data: bytes) -> None:
    parse_kilobytes(data)
    parse_colons(data)


def test_a_real_process_is_measured_until_it_ends(tmp_path: Path) -> None:
    script = "b = bytearray(50_000_000); f = open('f', 'wb'); f.write(bytes(200_000)); f.flush()\nprint('up', flush=True)\nwhile input() != 'end': sum(range(5_000_000)); print('did', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        first = read_process(child.pid, pss=True)
        assert first is not None
        figures, started = first
        assert 50_000_000 < figures.rss < 500_000_000
        assert figures.pss is not None
        assert 50_000_000 < figures.pss <= figures.rss
        assert figures.threads == 1
        assert figures.written_bytes is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"did\n"
        second = read_process(child.pid, start_ticks=started)
        assert second is not None
        assert second[0].cpu_ns > figures.cpu_ns
        assert second[0].pss is None
        assert read_process(child.pid, start_ticks=started + 1) is None
        child.stdin.write(b"end\n")
        child.stdin.flush()
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read_process(child.pid) is None, "a zombie uses nothing"
    assert read_process(child.pid) is None


def test_figures_of_several_processes_are_added_up() -> None:
    one = HostFigures(1, 2, 3, 4, 5, 6)
    assert add_up([one, one]) == HostFigures(2, 4, 6, 8, 10, 12)
    assert add_up([one, HostFigures(1, 2, 3)]) == HostFigures(2, 4, 6)
    assert add_up([]) is None


def test_rates() -> None:
    first = Sample(10 * SECOND, HostFigures(SECOND, 1, 1, None, 100, None), guest(SECOND), 10 * SECOND)
    host = HostFigures(3 * SECOND, 1, 1, None, 300, 7)
    second = Sample(14 * SECOND, host, guest(3 * SECOND), 12 * SECOND)
    found = rates(first, second)
    assert found is not None
    assert (found.cpu, found.read_bytes, found.written_bytes) == (0.5, 50.0, None)
    assert (found.guest_seconds, found.guest_cpu, found.network_sent_bytes) == (2.0, 1.0, float(SECOND))
    assert rates(second, first) is None
    restarted = attrs.evolve(second, host=HostFigures(0, 1, 1), guest=guest(0))
    assert rates(first, restarted) == Rates(4.0)


def test_an_hour_of_history_takes_less_than_a_tenth_of_a_mebibyte() -> None:
    history = History()
    assert history.rates() is None
    samples = [
        Sample(
            (n + 1) * SECOND,
            HostFigures(n, n, n, None if n % 2 else n, n, n),
            guest(n) if n % 3 else None,
            n if n % 3 else 0,
        )
        for n in range(1000)
    ]
    for n, sample in enumerate(samples):
        history.add(sample)
        if n in (0, 1, 359, 360, 361, 999):
            assert list(history.samples()) == samples[max(0, n - 359) : n + 1]
    assert list(history.samples(since_ns=998 * SECOND)) == samples[-3:]
    assert history.rates(back=10) == rates(samples[-11], samples[-1])
    assert history.rates(back=360) is None
    assert history.nbytes <= 100_000
    history.add(Sample(1, HostFigures(1 << 70, 1, 1), guest(1 << 64), 1))
    assert next(iter(history.samples(since_ns=0))) is not None


async def test_the_sampler_measures_all_spread_over_the_interval() -> None:
    asked: list[int] = []

    async def stats() -> GuestStats:
        asked.append(1)
        await asyncio.sleep(0)
        return guest(5)

    async def silent() -> GuestStats:
        raise GuestError("gone")

    done = asyncio.Event()
    keys = [f"s{number}" for number in range(20)]

    def heard(key: str, sample: Sample) -> None:
        assert sampler.history(key).latest is sample
        latest = [sampler.history(each).latest for each in keys]
        told = all(sample and sample.guest for sample in latest[1::2])
        if told and all(len(sampler.history(each)) >= 3 for each in keys):
            done.set()

    sampler = Sampler(interval=0.05, guest_interval=1000, listener=heard)
    for number, key in enumerate(keys):
        sampler.add(Target(key, (os.getpid(),), stats if number % 2 else silent))
    assert sampler.keys() == tuple(keys)
    task = asyncio.create_task(sampler.run())
    async with asyncio.timeout(60):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(asked) == 10
    latest = sampler.history("s1").latest
    assert latest is not None
    assert latest.guest == guest(5)
    assert latest.host.pss
    silent_one = sampler.history("s2").latest
    assert silent_one is not None
    assert silent_one.guest is None
    moments = {next(iter(sampler.history(key).samples())).time_ns // 1_000_000 for key in keys}
    assert len(moments) > 5, "staggered"
    sampler.remove("s1")
    with pytest.raises(NotFound):
        sampler.history("s1")


async def test_a_target_that_is_added_while_all_wait_is_measured() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    sampler = Sampler(interval=0.01, listener=lambda key, _: heard.put_nowait(key))
    task = asyncio.create_task(sampler.run())
    await asyncio.sleep(0)
    sampler.add(Target("late", (os.getpid(),)))
    async with asyncio.timeout(30):
        assert await heard.get() == "late"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_now_measures_at_once_and_knows_an_end() -> None:
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    sampler = Sampler()
    sampler.add(Target("one", (child.pid,)))
    sample = await sampler.now("one")
    child.kill()
    await child.wait()
    assert sample is not None
    assert sample.host.pss
    assert await sampler.now("one") is None
    assert len(sampler.history("one")) == 1


def test_prometheus_text() -> None:
    sample = Sample(5 * SECOND, HostFigures(2 * SECOND, 7, 1), guest(3 * SECOND), 4 * SECOND)
    bare = Sample(5 * SECOND, HostFigures(SECOND, 7, 1, 5, 8, 9))
    text = prometheus([Labelled("a", sample, "web", "g"), Labelled('b"\n', bare)]).decode()
    lines = text.splitlines()
    assert "monocore_sandboxes 2.0" in lines
    assert 'monocore_sandbox_cpu_seconds_total{group="g",sandbox="a",service="web"} 2.0' in lines
    assert 'monocore_sandbox_guest_cpu_seconds_total{group="g",sandbox="a",service="web"} 3.0' in lines
    assert 'monocore_sandbox_storage_read_bytes_total{group="",sandbox="b\\"\\n",service=""} 8.0' in lines
    assert "# TYPE monocore_sandbox_cpu_seconds_total counter" in lines
    assert not any(line.startswith("monocore_sandbox_guest") and 'sandbox="b' in line for line in lines)


def test_starts_and_the_pool_for_prometheus() -> None:
    starts = Starts()
    for seconds in (0.004, 0.02, 400.0):
        starts.observe("root", seconds)
    starts.begun["spare"] += 2
    starts.failed("NotFound")
    starts.ended("oom")
    one = PoolShape(2, 256, ("root", "upper"), settled=False, wanted=4, ready=3, bytes=1000)
    settled = PoolShape(2, 256, ("root", "upper"), settled=True, wanted=4, ready=1, bytes=10)
    lines = prometheus([], starts, (one, settled, settled)).decode().splitlines()
    assert 'monocore_start_stage_seconds_bucket{le="0.0025",stage="root"} 0.0' in lines
    assert 'monocore_start_stage_seconds_bucket{le="0.005",stage="root"} 1.0' in lines
    assert 'monocore_start_stage_seconds_bucket{le="300.0",stage="root"} 2.0' in lines
    assert 'monocore_start_stage_seconds_bucket{le="+Inf",stage="root"} 3.0' in lines
    assert 'monocore_start_stage_seconds_sum{stage="root"} 400.024' in lines
    assert 'monocore_starts_total{began="spare"} 2.0' in lines
    assert 'monocore_start_failures_total{reason="NotFound"} 1.0' in lines
    assert 'monocore_ends_total{reason="oom"} 1.0' in lines
    labels = 'disks="root+upper",memory="256",settled="{}",vcpus="2"'
    for name, figures in (("ready", (3.0, 2.0)), ("memory_bytes", (1000.0, 20.0))):
        for settled_too, figure in zip(("no", "yes"), figures, strict=True):
            assert f"monocore_pool_{name}{{{labels.format(settled_too)}}} {figure}" in lines


def test_names_without_end_are_counted_together() -> None:
    starts = Starts()
    for number in range(1000):
        starts.failed(f"reason{number}")
        starts.observe(f"stage{number}", 1.0)
    assert len(starts.failures) <= MAX_NAMES + 1
    assert starts.failures[OTHER] == 1000 - MAX_NAMES
    assert len(starts.stages) <= MAX_NAMES + 1


def test_nothing_imports_prometheus_client_before_it_is_needed() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, monocore_core.metrics; print('prometheus_client' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "False\n"
