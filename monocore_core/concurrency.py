"""Structured concurrency in the few shapes that we need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


async def together(
    first: Coroutine[object, object, A],
    second: Coroutine[object, object, B],
    third: Coroutine[object, object, C],
) -> tuple[A, B, C]:
    """Run three coroutines at once; when one fails the others are cancelled and awaited, and its error is raised as it is.

    :class:`asyncio.TaskGroup` does the same but wraps the error in a group, which no caller of ours wants.
    """
    try:
        async with asyncio.TaskGroup() as group:
            one, two, three = group.create_task(first), group.create_task(second), group.create_task(third)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return one.result(), two.result(), three.result()


@asynccontextmanager
async def background(work: Coroutine[object, object, None]) -> AsyncGenerator[None]:
    """Do ``work`` beside the block, and cancel it at the block's end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def in_thread(
    call: Callable[[], T], executor: Executor | None = None, *, stop: Callable[[], None] | None = None
) -> T:
    """Run ``call`` in a thread. When cancelled, wait for it first, since it uses what the caller is about to close.

    Args:
        call: takes milliseconds, or ends soon after ``stop`` is called.
        executor: whose thread; None: the loop's own.
        stop: called once, at the first cancellation.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise
