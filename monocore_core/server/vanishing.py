"""Clients that go away: what is done for one that nobody waits for any more is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from aiohttp import web

T = TypeVar("T")
#: Seconds between two looks whether the connection still stands. aiohttp tells a handler only when it reads or writes.
LOOK: Final = 0.25


def is_gone(request: web.Request) -> bool:
    """Whether the client's connection is lost."""
    return request.transport is None or request.transport.is_closing()


def told(transport: asyncio.BaseTransport | None, what: str) -> Any:
    """What a connection says of itself (``get_extra_info``), or None once it is gone: asked then, one of TLS raises."""
    try:
        return None if transport is None else transport.get_extra_info(what)
    except AttributeError:
        return None


async def gone(request: web.Request) -> None:
    """Returns when the client's connection is lost."""
    while not is_gone(request):  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(LOOK)


async def unless_gone(request: web.Request, work: Awaitable[T]) -> T:
    """What ``work`` gives. When the client goes away before, ``work`` is cancelled, and its clean-up waited for.

    Raises:
        ConnectionResetError: the client went away.
    """
    task = asyncio.ensure_future(work)
    watching = asyncio.create_task(gone(request))
    waits: set[asyncio.Future[T] | asyncio.Task[None]] = {task, watching}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionResetError("the client went away")
        return task.result()
    finally:
        for one in waits:
            one.cancel()
        await asyncio.wait(waits)
