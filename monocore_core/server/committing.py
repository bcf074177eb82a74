"""Route: an image of a sandbox."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from monocore_core.errors import InvalidInput
from monocore_core.inventory import image_summary
from monocore_core.model.access import Scope
from monocore_core.ocidoc.derive import Commit
from monocore_core.runtime.committing import commit
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import table_of, texts_of
from monocore_core.server.routing import Reach, Room
from monocore_core.server.vanishing import unless_gone

ROUTES = Room()
_KEYS = frozenset({"image", "message", "author", "changes"})


# images belong to the home: a name that is given here may be that of an image which others run
@ROUTES.post("/v1/sandboxes/{id}/commit", Scope.ADMIN, Reach.HOME)
async def commit_one(request: web.Request) -> web.Response:
    """An image of a sandbox's image and what the sandbox has changed."""
    table = await table_of(request)
    if unknown := table.keys() - _KEYS:
        raise InvalidInput(f"unknown key {min(unknown)[:80]!r}", hint=f"known: {', '.join(sorted(_KEYS))}")
    said = Commit(_text(table, "message"), _text(table, "author"), texts_of(table, "changes") or ())
    work = commit(daemon_of(request).sandboxes, request.match_info["id"], _text(table, "image"), said)
    image = await unless_gone(request, work)
    return web.json_response(image_summary(image), status=201)


def _text(table: Mapping[str, object], name: str) -> str:
    found = table.get(name, "")
    if not isinstance(found, str):
        raise InvalidInput(f"{name} is not a text")
    return found
