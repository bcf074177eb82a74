"""Structured concurrency in the few shapes that we need."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

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
