"""Three at once; one failure ends the others and is raised as it is. A thread is waited for, whatever happens."""

import asyncio
import threading

import pytest

from monocore_core.concurrency import in_thread, together
from monocore_core.errors import NotFound


async def value(result: int) -> int:
    await asyncio.sleep(0)
    return result


async def test_results_come_in_order() -> None:
    assert await together(value(1), value(2), value(3)) == (1, 2, 3)


async def test_a_failure_cancels_the_others_and_waits_for_them() -> None:
    ended: list[str] = []

    async def endless(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def failing() -> None:
        await asyncio.sleep(0)
        raise NotFound("gone")

    with pytest.raises(NotFound, match="gone"):
        await together(endless("one"), failing(), endless("two"))
    assert sorted(ended) == ["one", "two"]


async def test_cancellation_reaches_all() -> None:
    ended: list[str] = []
    started = asyncio.Event()

    async def endless(name: str) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    task = asyncio.create_task(together(endless("a"), endless("b"), endless("c")))
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a", "b", "c"]


async def test_a_thread_gives_its_result_or_its_error() -> None:
    def fail() -> int:
        raise NotFound("gone")

    assert await in_thread(lambda: 7) == 7
    with pytest.raises(NotFound, match="gone"):
        await in_thread(fail)


@pytest.mark.parametrize("failing", [False, True])
async def test_a_cancelled_caller_waits_for_the_thread(failing: bool) -> None:
    loop, started, finish = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    ended: list[str] = []

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        finish.wait(20)
        ended.append("thread")
        if failing:
            raise NotFound("nobody hears it")

    def stop() -> None:
        ended.append("stop")
        finish.set()

    task = asyncio.create_task(in_thread(work, stop=stop))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["stop", "thread"]
