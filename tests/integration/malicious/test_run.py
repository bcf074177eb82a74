"""Agents that spoil a run: its end is defined, and it can be killed whatever they do."""

from __future__ import annotations

import asyncio
import time

import pytest

from monocore_core.model.record import EndReason
from monocore_core.model.sandbox import MIB
from monocore_core.runtime.output import Listening
from tests.integration.malicious.world import CONSOLE, World, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]


async def test_a_lost_agent_is_an_end(world: World) -> None:
    async def lost(word: str, says: str) -> None:
        life = await world.begin("honest", word)
        end = await world.sandboxes.wait(life.record.id)
        assert (end.code, end.reason) == (137, EndReason.VMM_FAILED)
        assert "the guest agent is lost" in end.detail
        assert says in end.detail
        await world.sandboxes.rest(life.record.id)

    async with world.bounded(), asyncio.timeout(30):
        await asyncio.gather(
            lost("exit huge", "exit code 9223372036854775807"),
            lost("stolen", "not of this session"),  # another process has the port after the agent
        )


async def test_an_agent_that_dies_takes_its_machine_with_it(world: World) -> None:
    async with world.bounded(), asyncio.timeout(20):
        life = await world.begin("honest", "panic")
        end = await world.sandboxes.wait(life.record.id)
        assert end.reason is EndReason.VMM_FAILED
        assert "shut down from within" in end.detail
        await world.sandboxes.rest(life.record.id)


async def test_agents_that_do_not_hear_are_killed(world: World) -> None:
    """One has a disk that it could leave clean, which is not waited for as of those who do what they are told; one writes to its console without
    end; one said goodbye before it did anything, has closed its port, and runs on."""
    async with world.bounded():
        lives = await asyncio.gather(
            world.begin("honest", "never exits", disk=32 * MIB),
            world.begin("honest", "console"),
            world.begin("goodbye", "closed"),
        )
        console = world.home / "sandboxes" / lives[1].record.id / "console.log"
        await until(lambda: console.stat().st_size > CONSOLE / 2)
        await asyncio.gather(*map(world.kill, lives))


async def test_floods_of_output(world: World) -> None:
    """As much as there is credit for, and byte by byte to somebody who does not listen: what is kept, and what waits, has a bound."""
    listening: list[Listening] = []
    async with world.bounded():
        flood, crumbs = await asyncio.gather(
            world.begin("honest", "flood"),
            world.begin("honest", "crumbs", attach=lambda _, one: listening.append(one)),
        )
        first = world.home / "logs" / flood.record.id / "0000000001.log"
        await until(lambda: not first.exists())  # what is old goes
        until_then = time.monotonic() + 1.5
        while time.monotonic() < until_then:
            await world.well()
        assert not listening[0].closed
        await asyncio.gather(world.kill(flood), world.kill(crumbs))
