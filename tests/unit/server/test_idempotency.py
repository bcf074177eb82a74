"""A key gives one thing once: a repeat gets the same, one that comes meanwhile waits, a failure is forgotten."""

import asyncio

import pytest
from attrs import evolve

from monocore_core.errors import Conflict, NotFound
from monocore_core.model.record import SandboxOrder, SandboxRecord
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.server import idempotency
from monocore_core.server.idempotency import Keys, Wish

ONE, OTHER = Wish("key", "body"), Wish("key", "another body")


def record(identity: str = "0123", labels: dict[str, str] | None = None) -> SandboxRecord:
    return SandboxRecord(identity, identity, SandboxOrder(SandboxRequest("a"), labels=labels or {}))


class Maker:
    def __init__(self) -> None:
        self.made = 0
        self.go = asyncio.Event()

    async def make(self) -> SandboxRecord:
        await self.go.wait()
        self.made += 1
        return record(str(self.made))


async def test_a_repeat_gets_the_same_and_nothing_is_made_twice() -> None:
    keys, maker = Keys(), Maker()
    both = [asyncio.create_task(keys.once(ONE, (), maker.make)) for _ in range(2)]
    await asyncio.sleep(0)
    maker.go.set()
    (first, new), (second, again) = await asyncio.gather(*both)
    assert (first, new, again) == (second, True, False)
    assert await keys.once(ONE, (), maker.make) == (first, False)
    assert maker.made == 1
    with pytest.raises(Conflict, match="another request"):
        await keys.once(OTHER, (), maker.make)


async def test_who_waits_for_one_that_is_given_up_makes_it() -> None:
    keys, maker = Keys(), Maker()
    first, second = (asyncio.create_task(keys.once(ONE, (), maker.make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    maker.go.set()
    assert (await second)[1] is True
    assert maker.made == 1


async def test_a_failure_is_forgotten() -> None:
    keys, maker = Keys(), Maker()
    maker.go.set()

    async def fail() -> SandboxRecord:
        raise NotFound("no such image")

    with pytest.raises(NotFound):
        await keys.once(ONE, (), fail)
    assert (await keys.once(OTHER, (), maker.make))[1] is True


async def test_what_an_earlier_daemon_made_is_known_by_its_labels() -> None:
    keys, maker = Keys(), Maker()
    there = record("abcd", ONE.labels)
    assert await keys.once(ONE, [record(), there], maker.make) == (there, False)
    with pytest.raises(Conflict):
        await keys.once(OTHER, [there], maker.make)
    changed = evolve(there, order=evolve(there.order, labels={}))
    maker.go.set()
    assert (await keys.once(ONE, [changed], maker.make))[1] is True


async def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEYS", 2)
    keys, maker = Keys(), Maker()
    maker.go.set()
    for number in range(5):
        await keys.once(Wish(str(number), ""), (), maker.make)
    maker.go.clear()
    waiting = [asyncio.create_task(keys.once(Wish(f"w{n}", ""), (), maker.make)) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="under way"):
        await keys.once(Wish("more", ""), (), maker.make)
    maker.go.set()
    await asyncio.gather(*waiting)
