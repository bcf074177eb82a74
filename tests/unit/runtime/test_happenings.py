"""Happenings: numbered, kept for a while, followed from anywhere, and honest about what is missing."""

import asyncio

from monocore_core.runtime.happenings import Happening, Happenings


async def test_a_follower_gets_what_comes_and_ends_with_it() -> None:
    happenings = Happenings()
    got: list[str] = []

    async def follow() -> None:
        got.extend([one.kind async for one in happenings.follow()])

    happenings.tell("before")
    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    happenings.tell("one")
    happenings.tell("two")
    happenings.close()
    await task
    assert got == ["one", "two"]


async def test_one_who_comes_back_misses_nothing_that_is_kept() -> None:
    happenings = Happenings(kept=3)
    for number in range(5):
        happenings.tell(f"kind-{number}")
    happenings.close()
    assert [one.number for one in happenings.since(3)] == [4, 5]
    assert [one.kind async for one in happenings.follow(3)] == ["kind-3", "kind-4"]
    told = [one async for one in happenings.follow(0)]
    assert [one.kind for one in told] == ["missed", "kind-2", "kind-3", "kind-4"]
    assert told[0].facts == {"count": 2}
    assert [one.kind async for one in happenings.follow(99)] == []


async def test_followers_do_not_disturb_each_other() -> None:
    happenings = Happenings()
    slow, quick = happenings.follow(0), happenings.follow(0)
    happenings.tell("one", "id", "name", {"a": 1})
    first = await anext(quick)
    assert (first.sandbox, first.name, first.facts) == ("id", "name", {"a": 1})
    happenings.tell("two")
    assert (await anext(quick)).kind == "two"
    found: list[Happening] = [await anext(slow), await anext(slow)]
    assert [one.kind for one in found] == ["one", "two"]
    await slow.aclose()
    await quick.aclose()
