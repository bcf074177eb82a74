"""A command in a cold sandbox against QEMU by itself, and commands in a running sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.samples import busybox_image
from monocore_core.vmmkit.guestkernel import find_source, prepare
from monocore_core.vmmkit.kvm import kvm_problem
from scripts.bench.measure import Claim, Row, Section, in_turns, timed
from scripts.bench.peers import TIMEOUT, BareMachine, PeerFailed, bare_disk

BOOT_TITLE = "cold start: `monocore run IMAGE true` to its exit, image in the store"
ROUND_TRIP_TITLE = "command in a running sandbox: start, exit status, nothing else"
#: What the design asks for: no slower than this factor of bare QEMU, plus these seconds.
FACTOR, EXTRA = 1.15, 0.25
#: What the design asks for of a command in a running sandbox under TCG, seconds.
ROUND_TRIP = 0.015
_MEMORY = 512
ARCHITECTURE = "amd64"


def boot(cache: Path, quick: bool) -> Section:
    """Cold starts, in turns with bare QEMU."""
    home = Path(tempfile.mkdtemp(dir=cache))
    try:
        with LocalRegistry(cache / "registry") as registry:
            reference = registry.push(busybox_image(), "bench/small")
            _monocore(home, "pull", reference)
        argv = ("run", "--pull", "never", "-m", f"{_MEMORY}m", reference, "true")
        _monocore(
            home, *argv
        )  # makes what every later start finds: the kernel's wrapper, the boot disk, the root
        bare = bare_machine(home, _MEMORY)
        rows = in_turns(
            "boot",
            {
                "monocore run … true": lambda: timed(lambda: _monocore(home, *argv)),
                "bare QEMU, PID 1 that reboots": lambda: timed(bare.boot),
            },
            runs=3 if quick else 9,
        )
    finally:
        shutil.rmtree(home)
    ours, peer = rows.values()
    bound = FACTOR * peer.median + EXTRA
    text = f"{ours.median / peer.median:.2f} times bare QEMU; {ours.median:.2f} s (target {bound:.2f} s = {FACTOR} x + {EXTRA} s)"
    return Section(BOOT_TITLE, (ours, peer), (Claim(text, ours.median <= bound),))


def bare_machine(home: Path, memory: int) -> BareMachine:
    """QEMU by itself with ``memory`` MiB; its files are made in ``home``."""
    return BareMachine(_kernel(home), bare_disk(home), memory, _accel())


def round_trip(cache: Path, quick: bool) -> Section:
    """Commands, one after the other, in one sandbox."""
    home = Path(tempfile.mkdtemp(dir=cache))
    try:
        with LocalRegistry(cache / "registry") as registry:
            reference = registry.push(busybox_image(), "bench/small")
            samples = asyncio.run(_commands(home, reference, 50 if quick else 300))
    finally:
        shutil.rmtree(home)
    row = Row("round trip", "exec true", samples)
    p50, p95 = row.median * 1000, row.percentile(95) * 1000
    target = f"p50 {p50:.1f} ms, p95 {p95:.1f} ms (target p50 {ROUND_TRIP * 1000:g} ms under TCG)"
    return Section(ROUND_TRIP_TITLE, (row,), (Claim(target, row.median <= ROUND_TRIP),))


async def _commands(home: Path, reference: str, count: int) -> tuple[float, ...]:
    samples: list[float] = []
    async with (
        Engine.open(Settings(home=home)) as engine,
        engine.sandbox(SandboxRequest(image=reference)) as sandbox,
    ):
        for _ in range(count + 5):
            started = time.perf_counter()
            process = await sandbox.exec(CommandRequest(args=("/bin/true",)))
            await process.wait()
            samples.append(time.perf_counter() - started)
    return tuple(samples[5:])  # the first ones fault the guest's pages in


def _monocore(home: Path, *words: str) -> None:
    argv = [str(Path(sys.executable).with_name("monocore")), *words]
    # as installed programs run: with their modules compiled, which some environments forbid Python to keep
    environ = {**os.environ, "MONOCORE_HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""}
    environ["MONOCORE_DAEMON"] = "never"
    environ["MONOCORE_PLUGINS__VMM_QEMU__TEMPLATES"] = "false"  # cold, whatever the pace of this machine
    done = subprocess.run(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"monocore {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")


def _kernel(folder: Path) -> Path:
    """The kernel that the plugin boots, wrapped for QEMU."""
    source = find_source(None, ARCHITECTURE)
    if source is None:
        raise PeerFailed("no guest kernel is installed")
    return prepare(source, ARCHITECTURE, folder / "kernel").path


def _accel() -> str:
    """What the plugin's ``auto`` comes to, in QEMU's words."""
    return "tcg,thread=multi" if kvm_problem(Path("/"), ARCHITECTURE) else "kvm"
