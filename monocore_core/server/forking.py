"""Route: copies of a running sandbox."""

from __future__ import annotations

from aiohttp import web

from monocore_core.errors import InvalidInput
from monocore_core.model.access import Scope
from monocore_core.model.record import SandboxOrder, SandboxRecord
from monocore_core.runtime.forking import fork
from monocore_core.server.access import access_of
from monocore_core.server.admission import create_for
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import checked_number, table_of
from monocore_core.server.routing import Room
from monocore_core.server.vanishing import unless_gone
from monocore_core.server.views import view

ROUTES = Room()
_KEYS = frozenset({"count", "name"})


@ROUTES.post("/v1/sandboxes/{id}/fork", Scope.RUN)
async def fork_one(request: web.Request) -> web.Response:
    """Copies of a running sandbox that go on where it is."""
    table = await table_of(request)
    if unknown := table.keys() - _KEYS:
        raise InvalidInput(f"unknown key {min(unknown)[:80]!r}", hint=f"known: {', '.join(sorted(_KEYS))}")
    count, name = checked_number(table.get("count", 1), "count"), table.get("name", "")
    if not isinstance(name, str) or count != int(count):
        raise InvalidInput("name is a text, and count a whole number")
    sandboxes, access = daemon_of(request).sandboxes, access_of(request)

    def admit(order: SandboxOrder) -> SandboxRecord:
        return create_for(sandboxes, access, order)

    work = fork(sandboxes, request.match_info["id"], int(count), name, admit)
    made = await unless_gone(request, work)
    return web.json_response({"sandboxes": [view(record) for record in made]}, status=201)
