"""What a jail costs: QEMU that says its version and ends, with and without one, in turns."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

from monocore_vmm_qemu.confine import jail_of
from monocore_vmm_qemu.probe import find_binary

from monocore_core.jail import allocate, launcher, may_become_others, release, start
from monocore_core.model.machine import MachineSpec
from monocore_core.vmmkit.process import spawn
from scripts.bench.measure import Claim, Row, Section, in_turns
from scripts.bench.peers import PeerFailed

TITLE = "jail: QEMU from its start to its end, asked for its version alone"
#: What the design asks for, seconds a start.
BOUND = 0.015


def measure(cache: Path, quick: bool) -> Section:
    """Starts in a jail, in turns with starts without one."""
    binary = find_binary(None, "amd64")
    if binary is None:
        raise PeerFailed("qemu-system-x86_64 is not installed")
    program = launcher(cache)
    stage = Path(tempfile.mkdtemp(dir=cache))
    resolved = binary.resolve()
    try:
        rows: dict[str, Row] = in_turns(
            "jail",
            {
                "in a jail": lambda: asyncio.run(_jailed(program, resolved, stage)),
                "without": lambda: asyncio.run(_free(resolved)),
            },
            runs=10 if quick else 40,
        )
    finally:
        shutil.rmtree(stage)
    jailed, free = rows.values()
    cost = jailed.median - free.median
    text = f"{cost * 1000:.1f} ms a start (target {BOUND * 1000:.0f} ms)"
    return Section(TITLE, (jailed, free), (Claim(text, cost <= BOUND),))


async def _jailed(program: Path, binary: Path, stage: Path) -> float:
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    begun = time.perf_counter()
    identity = allocate() if may_become_others() else None
    try:
        spec = MachineSpec("bench", "amd64", 1, 1 << 27, binary, stage, stage / "console")
        jail = jail_of(spec, binary, binary, identity, kvm=False)
        argv = [os.fspath(binary), "-version"]
        jailed = await start(program, jail, argv, stderr=null, inherit=(), tied=True)
        await jailed.process.wait()
    finally:
        release(identity)
        os.close(null)
    if jailed.process.status:
        raise PeerFailed(f"QEMU in a jail ended with status {jailed.process.status}")
    return time.perf_counter() - begun


async def _free(binary: Path) -> float:
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    begun = time.perf_counter()
    try:
        process = spawn([os.fspath(binary), "-version"], stderr=null, inherit=(), tied=False)
        await process.wait()
    finally:
        os.close(null)
    return time.perf_counter() - begun
