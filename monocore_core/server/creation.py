"""Route: a new sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import web
from attrs import evolve

from monocore_core.errors import Conflict, MonocoreError
from monocore_core.model.access import OWNER, Access, Scope
from monocore_core.model.record import SandboxOrder, SandboxRecord
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.access import access_of
from monocore_core.server.admission import create_for
from monocore_core.server.app import Daemon, daemon_of
from monocore_core.server.bodies import order_of, switch, table_of
from monocore_core.server.idempotency import Wish
from monocore_core.server.routing import Entry, Reach
from monocore_core.server.vanishing import is_gone, unless_gone
from monocore_core.server.views import view


async def create(request: web.Request) -> web.Response:
    """A new sandbox, started unless that is not wanted. A client that goes away before it runs leaves none."""
    daemon, table = daemon_of(request), await table_of(request)
    order, start = order_of(table), switch(request, "start", default=True)
    wish = Wish.of(request, table)
    access = access_of(request)
    if wish is not None:
        if access != OWNER:  # one client's key gives nothing of another's
            wish = evolve(wish, key=f"{access.who}:{wish.key}")
        order = evolve(order, labels={**order.labels, **wish.labels})
    record, new = await unless_gone(request, _once(daemon, access, wish, order, start=start))
    book = daemon.sandboxes.book
    if wish is None and is_gone(request):  # it went away in the moment in which the sandbox began to run
        await asyncio.shield(asyncio.ensure_future(daemon.sandboxes.remove(record.id, force=True)))
        raise ConnectionResetError("the client went away")
    if not new and record.id not in book:
        raise Conflict(
            f"sandbox {record.name} was made by an earlier request of this key, and is gone",
            hint="use a new key for a new one",
        )
    return web.json_response(view(book.now(record)), status=201 if new else 200)


ENTRIES: Final = (Entry("POST", "/v1/sandboxes", create, Scope.RUN, Reach.CHOSEN),)


async def _once(
    daemon: Daemon, access: Access, wish: Wish | None, order: SandboxOrder, *, start: bool
) -> tuple[SandboxRecord, bool]:
    sandboxes = daemon.sandboxes
    if wish is None:
        return await make(sandboxes, access, order, start=start), True
    return await daemon.keys.once(wish, sandboxes.all(), lambda: make(sandboxes, access, order, start=start))


async def make(sandboxes: Sandboxes, access: Access, order: SandboxOrder, *, start: bool) -> SandboxRecord:
    """A new sandbox. Failure and cancellation leave none: whoever asked has no id to ask again with.

    Raises:
        Conflict, NotFound, NothingFits …: as making and starting one says.
    """
    record = create_for(sandboxes, access, order)
    if start:
        try:
            await sandboxes.start(record.id)
        except BaseException:
            with contextlib.suppress(MonocoreError):  # one that was to be removed is gone already
                await asyncio.shield(asyncio.ensure_future(sandboxes.remove(record.id, force=True)))
            raise
    return record
