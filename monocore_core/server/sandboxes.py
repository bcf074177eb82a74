"""Routes: sandboxes from their beginning to their end."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from aiohttp import web

from monocore_core.errors import Conflict, InvalidInput, NotFound
from monocore_core.model.access import Scope
from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.runtime.checkpoints import start_from
from monocore_core.server.access import access_of, sees
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import checked_number, switch, table_of
from monocore_core.server.routing import Reach, Room
from monocore_core.server.views import view, view_of_end, whole_view

ROUTES = Room()
#: Longest that a stop may wait before force, seconds.
MAX_GRACE = 3600.0


@ROUTES.get("/v1/sandboxes", Scope.READ, Reach.CHOSEN)
async def list_all(request: web.Request) -> web.Response:
    """Those that run, or all."""
    records = daemon_of(request).sandboxes.all()
    wanted = request.query.getall("state", [])
    states = {state for text in wanted for state in SandboxState if state.value == text}
    if len(states) != len(set(wanted)):
        raise InvalidInput(f"unknown state among {wanted}", hint=f"known: {', '.join(SandboxState)}")
    if not states and not switch(request, "all"):
        states = {state for state in SandboxState if state.live}
    labels = [text.partition("=") for text in request.query.getall("label", [])]
    shown = [
        view(record)
        for record in records
        if (not states or record.state in states)
        and sees(access_of(request), record)
        and all(_has(record, *label) for label in labels)
    ]
    return web.json_response({"sandboxes": shown})


@ROUTES.get("/v1/sandboxes/{id}", Scope.READ)
async def inspect(request: web.Request) -> web.Response:
    """Everything about one."""
    return web.json_response(whole_view(_record(request)))


@ROUTES.delete("/v1/sandboxes/{id}", Scope.RUN)
async def remove(request: web.Request) -> web.Response:
    """Forget one."""
    await daemon_of(request).sandboxes.remove(request.match_info["id"], force=switch(request, "force"))
    return web.Response(status=204)


@ROUTES.post("/v1/sandboxes/prune", Scope.RUN, Reach.CHOSEN)
async def prune(request: web.Request) -> web.Response:
    """Forget those that have exited."""
    sandboxes = daemon_of(request).sandboxes
    removed: list[str] = []
    for record in sandboxes.all():
        if record.state is SandboxState.EXITED and sees(access_of(request), record):
            with contextlib.suppress(NotFound, Conflict):  # somebody was quicker
                await sandboxes.remove(record.id)
                removed.append(record.id)
    return web.json_response({"removed": removed})


@ROUTES.post("/v1/sandboxes/{id}/start", Scope.RUN)
async def start(request: web.Request) -> web.Response:
    """Start one, again or for the first time; or have it go on from a checkpoint."""
    sandboxes, name = daemon_of(request).sandboxes, (await table_of(request)).get("checkpoint", "")
    if not isinstance(name, str):
        raise InvalidInput("checkpoint is a text")
    identity = request.match_info["id"]
    life = await (start_from(sandboxes, identity, name) if name else sandboxes.start(identity))
    return web.json_response(view(life.record))


@ROUTES.post("/v1/sandboxes/{id}/stop", Scope.RUN)
async def stop(request: web.Request) -> web.Response:
    """Stop one; answers when nothing of it runs any more, or when nothing did."""
    sandboxes = daemon_of(request).sandboxes
    table = await table_of(request)
    grace = table.get("grace")
    seconds = None if grace is None else checked_number(grace, "grace", MAX_GRACE)
    record = _record(request)
    await sandboxes.stop(record.id, seconds)
    return web.json_response(view(sandboxes.book.now(record)))


@ROUTES.post("/v1/sandboxes/{id}/kill", Scope.RUN)
async def kill(request: web.Request) -> web.Response:
    """Send a signal to its command."""
    table = await table_of(request)
    number = signal_number(table.get("signal", int(signal.SIGKILL)))
    await daemon_of(request).sandboxes.kill(request.match_info["id"], number)
    return web.Response(status=204)


@ROUTES.post("/v1/sandboxes/{id}/wait", Scope.RUN)
async def wait(request: web.Request) -> web.Response:
    """How its run ended, when it has."""
    seconds = (await table_of(request)).get("timeout")
    limit = None if seconds is None else checked_number(seconds, "timeout", 1e6)
    try:
        async with asyncio.timeout(limit):
            end = await daemon_of(request).sandboxes.wait(request.match_info["id"])
    except TimeoutError:
        return web.json_response({"state": _record(request).state.value}, status=202)
    return web.json_response(view_of_end(end))


def signal_number(value: object) -> int:
    """A signal by number or name.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(value, str) and not value.isdecimal():
        name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
        found = getattr(signal.Signals, name, None)
        if isinstance(found, signal.Signals):
            return int(found)
    with contextlib.suppress(InvalidInput):
        number = checked_number(value, "signal", 64)
        if number >= 1 and number == int(number):
            return int(number)
    raise InvalidInput(f"{str(value)[:40]!r} is not a signal", hint="for example TERM, SIGKILL or 15")


def _record(request: web.Request) -> SandboxRecord:
    return daemon_of(request).sandboxes.get(request.match_info["id"])


def _has(record: SandboxRecord, name: str, equals: str, value: str) -> bool:
    found = record.order.labels.get(name)
    return found is not None and (not equals or found == value)
