"""Routes: the daemon itself, and what happens."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping

from aiohttp import web
from attrs import asdict

from monocore_core.errors import Unsupported
from monocore_core.model.access import Scope
from monocore_core.model.record import SandboxState
from monocore_core.server.app import Daemon, daemon_of
from monocore_core.server.bodies import number, switch, table_of
from monocore_core.server.routing import Reach, Room
from monocore_core.server.streams import stream_lines
from monocore_core.server.views import view_of_happening

ROUTES = Room()


@ROUTES.get("/v1/health", Scope.READ, Reach.NOTHING)
async def health(request: web.Request) -> web.Response:
    """It answers."""
    del request
    return web.json_response({"status": "ok"})


@ROUTES.get("/v1/info", Scope.READ)
async def info(request: web.Request) -> web.Response:
    """Who answers."""
    daemon = daemon_of(request)
    records = daemon.sandboxes.all()
    running = sum(record.state is SandboxState.RUNNING for record in records)
    return web.json_response(
        {
            "version": daemon.version,
            "home": str(daemon.sandboxes.engines.settings.home),
            "pid": os.getpid(),
            "started": daemon.started,
            "sandboxes": {"running": running, "all": len(records)},
            "pool": {
                "size": daemon.sandboxes.engines.settings.pool.size,
                "shapes": [asdict(shape) for shape in daemon.sandboxes.engines.pool.shapes()],
            },
        }
    )


@ROUTES.post("/v1/shutdown", Scope.ADMIN)
async def shutdown(request: web.Request) -> web.Response:
    """End the daemon; sandboxes run on, unless they are to be stopped first."""
    daemon = daemon_of(request)
    stop = (await table_of(request)).get("stop") is True
    if not daemon.ending.done():
        daemon.ending.set_result(stop)
    return web.json_response({"ending": True, "stop": stop}, status=202)


@ROUTES.get("/v1/events", Scope.READ)
async def events(request: web.Request) -> web.StreamResponse:
    """What happened after the event of that number, and what happens."""
    after = number(request, "after")
    follow = switch(request, "follow")
    return await stream_lines(
        request, _events(daemon_of(request), None if after is None else int(after), follow=follow)
    )


@ROUTES.get("/v1/metrics", Scope.READ)
async def metrics(request: web.Request) -> web.Response:
    """Figures for Prometheus."""
    try:
        from monocore_core.metrics.prometheus import Labelled, prometheus  # noqa: PLC0415 - needs prometheus-client
    except ImportError as error:
        raise Unsupported(
            "figures need prometheus-client", hint="pip install 'monocore-core[server]'"
        ) from error
    daemon = daemon_of(request)
    found: list[Labelled] = []
    for record in daemon.sandboxes.all():
        history = daemon.figures.history(record.id)
        if history is not None and (latest := history.latest) is not None:
            labels = record.order.labels
            found.append(
                Labelled(
                    record.name,
                    latest,
                    service=labels.get("monocore.service", ""),
                    group=labels.get("monocore.group", ""),
                )
            )
    text = prometheus(found, daemon.sandboxes.starts, daemon.sandboxes.engines.pool.shapes())
    return web.Response(body=text, content_type="text/plain", charset="utf-8")


async def _events(daemon: Daemon, after: int | None, *, follow: bool) -> AsyncGenerator[Mapping[str, object]]:
    happenings = daemon.sandboxes.book.happenings
    if not follow:
        for happening in happenings.since(after or 0):
            yield view_of_happening(happening)
        return
    async for happening in happenings.follow(after):
        yield view_of_happening(happening)
