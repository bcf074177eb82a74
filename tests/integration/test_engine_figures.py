"""A real sandbox, measured and limited from the host: what is asked of the guest, the VMM and the kernel agrees."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.cgroups import Cgroups, Limit, Limits
from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.metrics import Labelled, Sampler, Target, prometheus
from monocore_core.model.machine import DiskLimits
from monocore_core.model.sandbox import MIB, CommandRequest, SandboxRequest
from monocore_core.sandbox import Sandbox
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.push(busybox_image(), "figures/busybox")


async def run(sandbox: Sandbox, script: str) -> float:
    """Seconds that a script took."""
    began = time.monotonic()
    process = await sandbox.exec(CommandRequest(args=("sh", "-c", script)))
    ended = await process.wait()
    assert ended.code == 0, await process.stderr.read(4096)
    return time.monotonic() - began


async def test_a_sandbox_is_measured_and_its_disk_limited(image: str, tmp_path: Path) -> None:
    request = SandboxRequest(
        image, memory=128 * MIB, disk=96 * MIB, disk_limits=DiskLimits(write=4 * MIB), boot_timeout=60
    )
    async with (
        asyncio.timeout(110),
        Engine.open(Settings(home=tmp_path)) as engine,
        engine.sandbox(request) as sandbox,
    ):
        sampler = Sampler()
        sampler.add(Target("one", (sandbox.machine.pid,), sandbox.guest.stats))
        before = await sampler.now("one")
        assert before is not None
        took = await run(sandbox, "dd if=/dev/zero of=/file bs=1M count=12 && sync")
        assert took > 2, "12 MiB at 4 MiB a second"
        after = await sampler.now("one")
        assert after is not None
        assert after.guest is not None
        assert after.guest.memory_total < 128 * MIB < after.host.rss + 128 * MIB
        rates = sampler.history("one").rates()
        assert rates is not None
        assert rates.cpu is not None
        assert 0 < rates.cpu < (os.cpu_count() or 1) + 0.5
        assert rates.guest_cpu is not None
        assert rates.disk_written_bytes is not None
        assert 0 < rates.disk_written_bytes < 8 * MIB
        assert rates.disk_written_bytes * rates.guest_seconds > 11 * MIB
        text = prometheus([Labelled("one", after)]).decode()
        assert "monocore_sandbox_guest_disk_written_bytes_total{" in text
    assert await sampler.now("one") is None


@pytest.mark.root
async def test_the_processor_time_of_a_vmm_is_limited(image: str, tmp_path: Path) -> None:
    groups = Cgroups(f"test{uuid.uuid4().hex[:12]}")
    if (reason := groups.what_works()[Limit.CPU]) is not None:
        pytest.skip(reason)
    try:
        async with (
            asyncio.timeout(110),
            Engine.open(Settings(home=tmp_path)) as engine,
            engine.sandbox(SandboxRequest(image, memory=128 * MIB, boot_timeout=60)) as sandbox,
        ):
            group = groups.create(sandbox.id, Limits(cpu=0.3))
            group.attach(sandbox.machine.pid)
            sampler = Sampler()
            sampler.add(Target("one", (sandbox.machine.pid,)))
            await sampler.now("one")
            await run(sandbox, "timeout 2 sh -c 'while :; do :; done'; true")
            await sampler.now("one")
            rates = sampler.history("one").rates()
            assert rates is not None
            assert rates.cpu is not None
            assert 0.01 < rates.cpu < 0.45
        group.remove()
    finally:
        groups.sweep(())
    assert groups.keys() == ()
