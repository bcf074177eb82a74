"""Answers of what takes long: what happens, a line each, and at last how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final, TypeVar

from aiohttp import web

from monocore_core.errors import MonocoreError
from monocore_core.server.problems import problem_of
from monocore_core.server.streams import stream_lines

E = TypeVar("E")
#: What is done: it is given whom to tell of its events, and gives what is shown of its result.
Work = Callable[[Callable[[E], None]], Awaitable[object]]
#: Events that wait for a client who reads slowly; what is beyond is left out.
MAX_EVENTS: Final = 4096


async def told(
    request: web.Request,
    work: Work[E],
    show: Callable[[E], Mapping[str, object]],
    *,
    first: Mapping[str, object] | None = None,
) -> web.StreamResponse:
    """Do something, and tell what happens: ``{"event": …}`` lines, then ``{"done": …}`` or ``{"error": …}``.

    A client that goes away gives it up, as Ctrl-C does.

    Args:
        request: that asks for it.
        work: what is done; it may tell of events from any thread.
        show: an event as plain data.
        first: a line before all others.
    """
    return await stream_lines(request, lines(work, show, first))


async def lines(
    work: Work[E], show: Callable[[E], Mapping[str, object]], first: Mapping[str, object] | None
) -> AsyncGenerator[Mapping[str, object]]:
    """The lines of :func:`told`. Closing it before its end cancels the work, and waits for that."""
    events: asyncio.Queue[E | None] = asyncio.Queue(MAX_EVENTS)
    loop = asyncio.get_running_loop()

    over = False

    def put(event: E | None) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            events.put_nowait(event)

    def tell(event: E) -> None:
        loop.call_soon_threadsafe(put, event)

    def finish() -> None:
        nonlocal over
        over = True
        put(None)  # wakes the reader; where there is no room, he is not waiting

    task = asyncio.ensure_future(work(tell))
    task.add_done_callback(lambda _: loop.call_soon(finish))  # after what was told last
    try:
        if first is not None:
            yield first
        while not over or not events.empty():
            event = await events.get()
            if event is not None:
                yield {"event": show(event)}
        try:
            yield {"done": await task}
        except MonocoreError as error:
            yield {"error": problem_of(error)}
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
