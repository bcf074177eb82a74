"""Clean-up that cancellation does not cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def finished(work: Coroutine[object, None, T]) -> T:
    """What ``work`` gives. Who is cancelled meanwhile is cancelled when it has ended.

    Raises:
        asyncio.CancelledError: was asked for meanwhile.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # it was seen
        raise asyncio.CancelledError
    return task.result()
