"""Starts, stage by stage: copies of a template against boots and against QEMU by itself, one by one and many at once; and what copies weigh."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from monocore_core.config.values import Backends, Settings
from monocore_core.engine import Engine
from monocore_core.model.events import Began, Event
from monocore_core.model.sandbox import MIB, CommandRequest, SandboxRequest
from monocore_core.sandbox import Sandbox
from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.samples import busybox_image
from scripts.bench import ready
from scripts.bench.machine import bare_machine
from scripts.bench.measure import Claim, Row, Section, timed
from scripts.bench.peers import PeerFailed

T = TypeVar("T")

TITLE = "start: `Engine.sandbox` to the first output of a command, image in the store, no network"
MANY_TITLE = "start: copies at once"
WEIGHT_TITLE = "copies of one template, idle: proportional set size of their QEMU processes"
#: What the design asks for, seconds: until the agent answers, and until the first output.
READY, OUTPUT = 0.15, 0.15
#: What the design asks for, MiB for each copy above the first.
WEIGHT = 35.0
_MEMORY = 256
_COMMAND = CommandRequest(args=("/bin/echo", "hello"))
#: What the image was started with before.
_OTHER = CommandRequest(args=("true",))


def measure(cache: Path, quick: bool) -> Section:
    """Copies of a settled template, boots and bare QEMU, in turns; then a daemon's starts, without a pool and with one."""
    runs = 5 if quick else 30
    section, (rows, claims) = _with_home(
        cache,
        lambda home, reference: _one_by_one(home, reference, runs),
        lambda reference: ready.one_by_one(cache, reference, runs),
    )
    return evolve(section, rows=(*section.rows, *rows), claims=(*section.claims, *claims))


def many(cache: Path, quick: bool) -> Section:
    """Ten copies at once, again and again, and fifty; the same out of a pool."""
    rounds, pooled = 2 if quick else 5, 5 if quick else 10
    section, rows = _with_home(
        cache,
        lambda home, reference: _at_once(home, reference, {10: rounds} if quick else {10: rounds, 50: 1}),
        lambda reference: ready.at_once(cache, reference, pooled, rounds),
    )
    return evolve(section, rows=(*section.rows, *rows))


def weight(cache: Path, quick: bool) -> Section:
    """Idle copies side by side, and machines that wait in a pool."""
    section, each = _with_home(
        cache,
        lambda home, reference: _weighed(home, reference, 5 if quick else 50),
        lambda reference: ready.spares_weigh(cache, reference, 5),
    )
    return evolve(section, notes=(*section.notes, f"a machine of a pool of 5, not in use: {each:.1f} MiB"))


def _with_home(
    cache: Path, work: Callable[[Path, str], Awaitable[Section]], further: Callable[[str], T]
) -> tuple[Section, T]:
    """What is measured with engines of a home, and what with daemons."""
    home = Path(tempfile.mkdtemp(dir=cache))
    try:
        with LocalRegistry(cache / "registry") as registry:
            reference = registry.push(busybox_image(), "bench/small")
            return asyncio.run(_awaited(work(home, reference))), further(reference)
    finally:
        shutil.rmtree(home)


async def _awaited(work: Awaitable[Section]) -> Section:
    return await work


def _settings(home: Path, *, templates: bool) -> Settings:
    return Settings(home, Backends(vmm="vmm_qemu"), plugins={"vmm_qemu": {"templates": templates}})


def _request(reference: str) -> SandboxRequest:
    return SandboxRequest(reference, memory=_MEMORY * MIB)


async def _one_by_one(home: Path, reference: str, runs: int) -> Section:
    stages: dict[str, list[float]] = {}
    boots: list[float] = []
    bare: list[float] = []
    async with AsyncExitStack() as stack:
        copying = await _prepared(home, reference, stack)
        booting = await stack.enter_async_context(Engine.open(_settings(home, templates=False)))
        machine = bare_machine(home, _MEMORY)
        for number in range(runs):
            for name, seconds in (await _started(copying, reference)).items():
                stages.setdefault(name, []).append(seconds)
            if number % 3 == 0:
                boots.append((await _started(booting, reference))["first output"])
                bare.append(await asyncio.to_thread(timed, machine.boot))
    rows = [Row("start", f"copy: {name}", tuple(samples), _p95(samples)) for name, samples in stages.items()]
    copy = rows[-1]
    boot = Row("start", "boot: first output", tuple(boots), _p95(boots))
    peer = Row("start", "bare QEMU, PID 1 that reboots", tuple(bare), _p95(bare))
    ready = rows[list(stages).index("agent ready")]
    claims = (
        Claim(
            f"{ready.median:.3f} s from spawn to an agent that answers (target {READY} s)",
            ready.median <= READY,
        ),
        Claim(f"{copy.median:.3f} s to the first output (target {OUTPUT} s)", copy.median <= OUTPUT),
        Claim(f"{copy.median / boot.median:.2f} of a boot, {copy.median / peer.median:.2f} of bare QEMU"),
    )
    return Section(TITLE, (*rows, boot, peer), claims)


async def _at_once(home: Path, reference: str, counts: Mapping[int, int]) -> Section:
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        engine = await _prepared(home, reference, stack)
        for count, rounds in counts.items():
            each: list[float] = []
            whole: list[float] = []
            for _ in range(rounds):
                began = time.perf_counter()
                done = await asyncio.gather(*(_started(engine, reference) for _ in range(count)))
                whole.append(time.perf_counter() - began)
                each += [one["first output"] for one in done]
            rows.append(Row("many", f"copies: first output, {count} at once", tuple(each), _p95(each)))
            rows.append(Row("many", f"all {count}, started and removed", tuple(whole)))
    return Section(MANY_TITLE, tuple(rows))


async def _weighed(home: Path, reference: str, count: int) -> Section:
    async with AsyncExitStack() as stack:
        engine = await _prepared(home, reference, stack)
        sandboxes: list[Sandbox] = []
        weights: list[float] = []
        for _ in range(count):
            sandbox = await stack.enter_async_context(engine.sandbox(_request(reference), command=_COMMAND))
            sandboxes.append(sandbox)
            weights.append(sum(_pss(one.machine.pid) for one in sandboxes))
        for sandbox in sandboxes:
            process = await sandbox.exec(CommandRequest(args=("/bin/true",)))
            if (await process.wait()).code:
                raise PeerFailed("an idle copy does not answer")
    further = (weights[-1] - weights[0]) / (count - 1)
    notes = (
        f"1 copy: {weights[0]:.0f} MiB; {count} copies: {weights[-1]:.0f} MiB; each answered a command afterwards",
        f"guests of {_MEMORY} MiB, after one command each",
    )
    claim = Claim(f"{further:.1f} MiB each above the first (target {WEIGHT:g} MiB)", further <= WEIGHT)
    return Section(WEIGHT_TITLE, (), (claim,), notes)


async def _prepared(home: Path, reference: str, stack: AsyncExitStack) -> Engine:
    """An engine whose next machine is a copy that is set up already."""
    events: list[Event] = []
    settings = _settings(home, templates=True)
    engine = await stack.enter_async_context(Engine.open(settings, listener=events.append))
    for _ in range(2):  # the second, for the copy that is set up already, which is made after the first
        async with engine.sandbox(_request(reference), command=_OTHER):
            await engine.preparer.settled()
    await _started(engine, reference)
    told = [event for event in events if isinstance(event, Began)]
    if not told[-1].copied:
        raise PeerFailed(f"no copy was started: {told[-1].reason}")
    return engine


async def _started(engine: Engine, reference: str) -> dict[str, float]:
    """Start a sandbox with a command and remove it; seconds of the stages, and from the beginning to the first output."""
    began = time.perf_counter()
    async with engine.sandbox(_request(reference), command=_COMMAND) as sandbox:
        if sandbox.first is None or await sandbox.first.stdout.read(64) != b"hello\n":
            raise PeerFailed("a sandbox did not answer")
        output = time.perf_counter() - began
        at = {stage.name: stage.seconds for stage in sandbox.stages}
    return {
        "decide, assemble": at["assemble"],
        "restore": at["spawn"] - at["assemble"],
        "agent ready": at["boot"] - at["assemble"],
        "root mounted": at["root"] - at["boot"],
        "command started": at["exec"] - at["root"],
        "first output": output,
    }


def _pss(pid: int) -> float:
    """MiB."""
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise PeerFailed(f"process {pid} tells no proportional set size")


def _p95(samples: Sequence[float]) -> str:
    return f"p95 {Row('', '', tuple(samples)).percentile(95) * 1000:.0f} ms"
