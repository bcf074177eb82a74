"""Agents that spoil copies of their sandbox: there are none then, and what was to be copied can be killed."""

from __future__ import annotations

import asyncio

import pytest

import monocore_core.guest.session
from monocore_core.errors import DeadlineExceeded, GuestError
from monocore_core.runtime.forking import fork
from tests.integration.malicious.world import World

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]


async def test_an_agent_that_never_holds_its_processes(world: World) -> None:
    async with world.bounded():
        life = await world.begin("hold never", "never exits")
        forking = asyncio.create_task(
            fork(world.sandboxes, life.record.id, 1, "copy", world.sandboxes.create)
        )
        await asyncio.sleep(0.5)
        await world.kill(life)
        with pytest.raises(GuestError):
            await forking


async def test_an_agent_whose_copies_never_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.bounded():
        life = await world.begin("returns held", "never exits")
        before = world.sandboxes.all()
        with monkeypatch.context() as patch:
            patch.setattr(monocore_core.guest.session, "REPLY_TIMEOUT", 1.0)
            with pytest.raises(DeadlineExceeded, match="within 1 s"):
                await fork(world.sandboxes, life.record.id, 1, "copy", world.sandboxes.create)
        assert world.sandboxes.all() == before
        await world.kill(life)
