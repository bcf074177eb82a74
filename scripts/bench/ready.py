"""Starts by the daemon: of a template, and out of a pool; by the command line as whole processes, and by the SDK."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from monocore_core.client.sdk.aio.client import Client
from monocore_core.client.tables import Table, inner, items, number, parse_table, table, tables, whole
from scripts.bench.measure import Claim, Row, timed
from scripts.bench.peers import PeerFailed
from scripts.bench.served import command, serving

#: What the design asks for, seconds: of a whole `run IMAGE true`, and from an SDK's creation to the first output.
RUN, RUN_POOL = 0.30, 0.12
SDK, SDK_POOL = 0.15, 0.05
_MEMORY = 256
#: Seconds for a template, and for a pool to be full again.
_PATIENCE = 300.0
MIB = 1024 * 1024


def one_by_one(cache: Path, reference: str, runs: int) -> tuple[tuple[Row, ...], tuple[Claim, ...]]:
    """One start after the other, each when the pool is full."""
    rows: list[Row] = []
    claims: list[Claim] = []
    for size, name, run_most, sdk_most in ((0, "no pool", RUN, SDK), (2, "pool", RUN_POOL, SDK_POOL)):
        with _daemon(cache, reference, size) as home:
            runs_of = [_whole(home, reference) for _ in range(runs)]
            sdk_of = [asyncio.run(_first_output(home, reference)) for _ in range(runs)]
        for what, samples, most in (
            ("run IMAGE true, whole process", runs_of, run_most),
            ("SDK, create to first output", sdk_of, sdk_most),
        ):
            row = Row("start", f"{name}: {what}", tuple(samples))
            rows.append(Row(row.section, row.name, row.samples, f"p95 {row.percentile(95) * 1000:.0f} ms"))
            claims.append(Claim(f"{name}: {what} {row.median:.3f} s (target {most} s)", row.median <= most))
    return tuple(rows), tuple(claims)


def at_once(cache: Path, reference: str, count: int, rounds: int) -> tuple[Row, ...]:
    """Many by the SDK at once: without a pool, and out of one that has one for each."""
    rows: list[Row] = []
    for size, name in ((0, "no pool"), (count, f"pool of {count}")):
        each: list[float] = []
        with _daemon(cache, reference, size) as home:
            for _ in range(rounds):
                _full(home)
                each += asyncio.run(_together(home, reference, count))
        row = Row("many", f"{name}: first output, {count} at once", tuple(each))
        rows.append(Row(row.section, row.name, row.samples, f"p95 {row.percentile(95) * 1000:.0f} ms"))
    return tuple(rows)


def spares_weigh(cache: Path, reference: str, count: int) -> float:
    """MiB that each machine of a full pool takes, proportional set size."""
    with _daemon(cache, reference, count) as home:
        _full(home)
        shapes = _shapes(home)
        return sum(number(shape, "bytes") for shape in shapes) / _ready(shapes) / MIB


@contextmanager
def _daemon(cache: Path, reference: str, size: int) -> Generator[Path]:
    """The home of a daemon that has the image, and a template of the shape, and a full pool."""
    folder = Path(tempfile.mkdtemp(dir=cache))
    home = folder / "home"
    home.mkdir(mode=0o700)
    config = folder / "monocore.toml"
    config.write_text(f'[backends]\nvmm = "vmm_qemu"\n[pool]\nsize = {size}\nmemory = "8GiB"\n')
    try:
        with serving(home, config):
            command(home, "pull", "-q", reference)
            for _ in range(
                2
            ):  # the second, for the copy that is set up already, which is made after the first
                _await(lambda: _copied(home, config, reference), "no machine is a copy")
            yield home
    finally:
        shutil.rmtree(folder)


def _copied(home: Path, config: Path, reference: str) -> bool:
    """Start a sandbox, for a template to be made; whether it began as a copy."""
    name = f"bench{time.monotonic_ns()}"
    words = ("run", "-m", f"{_MEMORY}m", "--name", name, reference, "sleep", "1")
    command(home, "--config", os.fspath(config), *words)
    found = json.loads(command(home, "inspect", name))
    command(home, "rm", name)
    return table(items(found)[0]).get("began") in ("copy", "spare")


def _ready(shapes: Sequence[Table]) -> int:
    return sum(whole(shape, "ready") for shape in shapes)


def _shapes(home: Path) -> list[Table]:
    return tables(inner(parse_table(command(home, "info", "--json").encode()), "pool"), "shapes")


def _full(home: Path) -> None:
    """Wait until everything waits that should."""

    def full() -> bool:
        return all(whole(shape, "ready") >= whole(shape, "wanted") for shape in _shapes(home))

    _await(full, "the pool does not become full")


def _whole(home: Path, reference: str) -> float:
    """Seconds of a command line, as a whole process."""
    _full(home)
    config = os.fspath(home.with_name("monocore.toml"))
    words = ("--config", config, "run", "--rm", "-m", f"{_MEMORY}m", reference, "true")
    return timed(lambda: command(home, *words))


async def _first_output(home: Path, reference: str) -> float:
    """Seconds from the wish for a sandbox to the first output of a command in it."""
    _full(home)
    async with await Client.connect(_url(home)) as client:
        began = time.perf_counter()
        return await _create(client, reference, began)


async def _create(client: Client, reference: str, began: float) -> float:
    async with (
        client.create(reference, memory=f"{_MEMORY}MiB") as sandbox,
        await sandbox.exec("echo", "hello") as process,
    ):
        if await process.stdout.read() != b"hello\n":
            raise PeerFailed("a sandbox did not answer")
        return time.perf_counter() - began


async def _together(home: Path, reference: str, count: int) -> list[float]:
    async with await Client.connect(_url(home)) as client:
        began = time.perf_counter()
        return list(await asyncio.gather(*(_create(client, reference, began) for _ in range(count))))


def _url(home: Path) -> str:
    return f"unix://{home / 'monocore.sock'}"


def _await(done: Callable[[], bool], what: str) -> None:
    """Wait for something that nobody tells.

    Raises:
        PeerFailed: it does not come.
    """
    deadline = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise PeerFailed(what)
        time.sleep(0.05)
