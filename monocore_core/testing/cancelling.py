"""Cancel a coroutine at its n-th suspension: the way to test that cancellation leaves nothing, wherever it strikes.

Example::

    async for number in every_suspension(lambda: network.attach(key, request)):
        assert await network.keys() == frozenset()

The loop ends when the operation has come to its end undisturbed; its value is in the last step.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Generic, TypeVar

from attrs import frozen

T = TypeVar("T")
#: No operation of a backend suspends so often; one that does never ends.
LIMIT = 2000


@frozen
class Step(Generic[T]):
    """One attempt.

    Attributes:
        number: the suspension at which it was cancelled, from 1.
        disturbed: whether it came so far that it was cancelled.
        finished: whether it gave a value: undisturbed, or in spite of the cancellation.
        value: what it gave, when it finished.
    """

    number: int
    disturbed: bool
    finished: bool
    value: T | None = None


async def cancelled_at(number: int, operation: Callable[[], Awaitable[T]]) -> Step[T]:
    """Run ``operation`` in a task that is cancelled when it suspends for the ``number``-th time.

    Its own failure is raised. An operation that had its result when the cancellation came may still give it.
    """
    seen = 0

    @types.coroutine
    def stepping() -> Generator[object, object, T]:
        nonlocal seen
        inner = operation().__await__()
        try:
            waiting = next(inner)
            while True:
                seen += 1
                if seen == number and (task := asyncio.current_task()) is not None:
                    task.cancel()
                try:
                    sent = yield waiting
                except BaseException as error:  # noqa: BLE001 - it is the operation that has to deal with it
                    waiting = inner.throw(error)
                else:
                    waiting = inner.send(sent) if sent is not None else next(inner)
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def run() -> T:
        return await stepping()

    coroutine: Coroutine[object, object, T] = run()
    try:
        value = await asyncio.create_task(coroutine)
    except asyncio.CancelledError:
        if seen < number:
            raise
        return Step(number, disturbed=True, finished=False)
    return Step(number, disturbed=seen >= number, finished=True, value=value)


async def every_suspension(
    operation: Callable[[], Awaitable[T]],
) -> AsyncGenerator[Step[T]]:
    """Attempt ``operation`` again and again, cancelled at its first suspension, its next …, until it comes to its end before.

    Args:
        operation: begins it anew.
    """
    for number in range(1, LIMIT):
        done = await cancelled_at(number, operation)
        yield done
        if not done.disturbed:
            return
    raise AssertionError(f"the operation had not ended after {LIMIT} suspensions")
