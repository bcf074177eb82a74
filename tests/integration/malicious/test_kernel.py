"""Kernels whose command line is not the one that we would give: they end, or are given up in time, or do their work within bounds."""

from __future__ import annotations

import asyncio

import pytest

from monocore_core.errors import DeadlineExceeded, MachineError
from monocore_core.model.sandbox import CommandRequest
from tests.integration.malicious.world import CONSOLE, World, sizes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]


async def test_kernels_that_come_to_nothing(world: World) -> None:
    async def ended(*words: str) -> None:
        with pytest.raises(MachineError, match="ended before"):
            await world.begin("", "true", words=words)

    async def silent(*words: str) -> None:
        with pytest.raises(DeadlineExceeded):
            await world.begin("", "true", words=words, boot_timeout=12)

    async with world.bounded(), asyncio.timeout(60):
        await ended("init=/nowhere")
        await ended("root=/dev/vdz")
        await ended("mem=12M")
        await asyncio.gather(
            silent("init=/nowhere", "panic=0"),  # it stays, and does nothing
            silent("monocore.vsock=1024"),  # the agent calls a host that is not there
        )


async def test_kernels_that_say_too_much(world: World) -> None:
    async with world.bounded(), asyncio.timeout(60):
        life = await world.begin(
            "", "sleep", "1000", words=("ignore_loglevel", "loglevel=8", "initcall_debug", "dyndbg=+p")
        )
        assert 0 < max(sizes(world.home / "sandboxes", f"{life.record.id}/console.log")) <= CONSOLE
        await world.kill(life)


async def test_kernels_that_work_all_the_same(world: World) -> None:
    async def works(*words: str) -> None:
        life = await world.begin("", "sleep", "1000", words=words)
        process = await life.sandbox.exec(CommandRequest(args=("echo", "well")))
        assert await process.stdout.read() == b"well\n"
        await world.kill(life)

    async with world.bounded(), asyncio.timeout(60):
        await asyncio.gather(
            works("monocore.template=1"),  # it is none, and gets entropy as one would
            works("maxcpus=0", "nosmp", "noapic"),
            works("x" * 400, "=", "monocore.disks="),
            works("monocore.disks=nothing,root"),  # there is no such one, and then serials count
        )
