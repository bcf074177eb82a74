"""Routes: sandboxes whose processors are stopped, and let run on."""

from __future__ import annotations

from aiohttp import web

from monocore_core.model.access import Scope
from monocore_core.server.app import daemon_of
from monocore_core.server.routing import Room
from monocore_core.server.views import view

ROUTES = Room()


@ROUTES.post("/v1/sandboxes/{id}/pause", Scope.RUN)
async def pause(request: web.Request) -> web.Response:
    """Stop a sandbox's processors; one that is paused stays so."""
    life = daemon_of(request).sandboxes.life(request.match_info["id"], paused=True)
    await life.pause()
    return web.json_response(view(life.record))


@ROUTES.post("/v1/sandboxes/{id}/resume", Scope.RUN)
async def resume(request: web.Request) -> web.Response:
    """Let a paused sandbox run on; one that runs does so anyway."""
    life = daemon_of(request).sandboxes.life(request.match_info["id"], paused=True)
    await life.resume()
    return web.json_response(view(life.record))
