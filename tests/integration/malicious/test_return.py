"""Agents that a daemon finds when it comes back: it takes its sandboxes up, or gives them up, in bounded time."""

from __future__ import annotations

import asyncio

import pytest

import monocore_core.assembly
from monocore_core.logs import LogQuery, Stream
from monocore_core.model.record import EndReason, SandboxRecord, SandboxState
from tests.integration.malicious.world import World, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]


async def come_back(world: World, mode: str, *command: str) -> SandboxRecord:
    """What a daemon that was ended leaves, and the next one finds."""
    life = await world.begin(mode, *command)
    await life.leave()
    await world.sandboxes.lives.resume(life.record)
    return world.sandboxes.get(life.record.id)


def logged(world: World, record: SandboxRecord, stream: Stream) -> bytes:
    query = LogQuery(streams=frozenset({stream}))
    return b"".join(one.data for one in world.sandboxes.logs.reader(record.id).records(query))


async def test_output_from_the_end_of_numbers(world: World) -> None:
    async with world.bounded():
        record = await come_back(world, "returns far", "never exits")
        assert record.state is SandboxState.RUNNING
        await until(lambda: b"from far away" in logged(world, record, Stream.STDOUT))
        assert b"9223372036854775807 bytes of stdout are missing here" in logged(world, record, Stream.NOTE)
        record = await come_back_again(world, record)
        assert (await world.sandboxes.stop(record.id, 0)).reason is EndReason.KILLED


async def come_back_again(world: World, record: SandboxRecord) -> SandboxRecord:
    await world.sandboxes.life(record.id).leave()
    await world.sandboxes.lives.resume(record)
    return world.sandboxes.get(record.id)


async def test_what_cannot_be_taken_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(mode: str, says: str) -> None:
        record = await come_back(world, mode, "never exits")
        assert record.state is SandboxState.EXITED
        assert record.end is not None
        assert record.end.reason is EndReason.LOST
        assert says in record.end.detail

    monkeypatch.setattr(monocore_core.assembly, "ADOPT_TIMEOUT", 1.0)
    async with world.bounded(), asyncio.timeout(30):
        await asyncio.gather(
            lost("returns late", "did not answer within 1 s"),  # it says no more than its welcome
            lost("returns silent", "did not answer within 1 s"),
            lost("returns alone", "its command is gone"),
        )
