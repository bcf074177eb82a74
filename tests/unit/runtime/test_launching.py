"""Starts that are given up, and those that are not."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from monocore_core.errors import Conflict
from monocore_core.model.record import SandboxOrder, SandboxRecord
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.runtime.launching import Launches
from monocore_core.runtime.life import Life

RECORD = SandboxRecord("1", "box", SandboxOrder(SandboxRequest("image")), created=0)
LIFE = cast("Life", object())


async def test_one_that_is_left_alone() -> None:
    async def work() -> Life:
        return LIFE

    launches = Launches()
    assert await launches.run(RECORD, work()) is LIFE
    assert not await launches.give_up(RECORD)


async def test_one_that_is_given_up_has_undone_what_it_did() -> None:
    undone = asyncio.Event()

    async def work() -> Life:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            undone.set()
        return LIFE

    launches = Launches()
    running = asyncio.create_task(launches.run(RECORD, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await launches.give_up(RECORD)
    assert undone.is_set()
    with pytest.raises(Conflict, match="sandbox box was ended while it was being started"):
        await running
    assert not await launches.give_up(RECORD)


async def test_who_starts_one_may_be_cancelled() -> None:
    undone = asyncio.Event()

    async def work() -> Life:
        try:
            await asyncio.sleep(1000)
        finally:
            undone.set()
        return LIFE

    running = asyncio.create_task(Launches().run(RECORD, work()))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert undone.is_set()
