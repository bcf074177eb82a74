"""Routes: checkpoints of sandboxes."""

from __future__ import annotations

from aiohttp import web

from monocore_core.concurrency import in_thread
from monocore_core.errors import InvalidInput
from monocore_core.model.access import Scope
from monocore_core.model.checkpoint import Checkpoint
from monocore_core.runtime.checkpoints import checkpoint
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import table_of
from monocore_core.server.routing import Room
from monocore_core.server.vanishing import unless_gone
from monocore_core.store.checkpoints import Checkpoints

ROUTES = Room()
_KEYS = frozenset({"name", "leave_running"})


@ROUTES.get("/v1/sandboxes/{id}/checkpoints", Scope.READ)
async def list_all(request: web.Request) -> web.Response:
    """Those of a sandbox, the oldest first."""
    key, kept = await _of(request)
    found = await in_thread(lambda: kept.all(key))
    return web.json_response({"checkpoints": [_view(one) for one in found]})


@ROUTES.post("/v1/sandboxes/{id}/checkpoints", Scope.RUN)
async def make(request: web.Request) -> web.Response:
    """Write a running sandbox to disk, to go on from there later."""
    table = await table_of(request)
    if unknown := table.keys() - _KEYS:
        raise InvalidInput(f"unknown key {min(unknown)[:80]!r}", hint=f"known: {', '.join(sorted(_KEYS))}")
    name, leave = table.get("name"), table.get("leave_running", False)
    if not isinstance(name, str) or not isinstance(leave, bool):
        raise InvalidInput("name is a text, and leave_running true or false")
    sandboxes = daemon_of(request).sandboxes
    work = checkpoint(sandboxes, request.match_info["id"], name, leave_running=leave)
    return web.json_response(_view(await unless_gone(request, work)), status=201)


@ROUTES.delete("/v1/sandboxes/{id}/checkpoints/{name}", Scope.RUN)
async def remove(request: web.Request) -> web.Response:
    """Remove one."""
    key, kept = await _of(request)
    await in_thread(lambda: kept.remove(key, request.match_info["name"]))
    return web.Response(status=204)


async def _of(request: web.Request) -> tuple[str, Checkpoints]:
    sandboxes = daemon_of(request).sandboxes
    record = sandboxes.get(request.match_info["id"])
    return record.id, (await sandboxes.engines.base()).store.checkpoints


def _view(found: Checkpoint) -> dict[str, object]:
    return {
        "name": found.name,
        "created": found.created,
        "size": found.size,
        "image": str(found.image.digest),
        "vmm": found.placement.vmm,
    }
