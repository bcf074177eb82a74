"""Routes of monocore 0.2.1's server, with its shapes: ``POST /up``, ``POST /down``, ``GET /status``, ``POST /remove``.

It knew one state of all services. Here every project has its own, so that without ``project`` these routes mean all of them; a configuration
without a name is the project ``project``. Errors are ``{"error": …}``, as they were, with the status that the error has elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Final

from aiohttp import web

from monocore_core.config.project import parse_project, remote_reading
from monocore_core.errors import InvalidInput, MonocoreError, NotFound
from monocore_core.model.access import Scope
from monocore_core.model.record import SandboxState
from monocore_core.orchestrator.status import InstanceStatus, ProjectStatus, ServiceStatus
from monocore_core.server.app import Daemon, daemon_of
from monocore_core.server.bodies import inner_table, table_of, texts_of
from monocore_core.server.problems import problem_of
from monocore_core.server.routing import Entry
from monocore_core.server.vanishing import unless_gone

_STATES: Final = {
    SandboxState.CREATED: "Unstarted",
    SandboxState.STARTING: "Starting",
    SandboxState.RUNNING: "Started",
    SandboxState.PAUSED: "Started",
    SandboxState.ENDING: "Stopping",
}
Handler = Callable[[web.Request], Awaitable[web.Response]]


def _as_it_was(handler: Handler) -> Handler:
    """Errors in its shape."""

    @wraps(handler)
    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except MonocoreError as error:
            status = problem_of(error)["status"]
            text = error.brief if error.hint is None else f"{error.brief} ({error.hint})"
            details = getattr(error, "problems", ()) or getattr(error, "failures", ())
            return web.json_response(
                {"error": "\n".join((text, *details))}, status=status if isinstance(status, int) else 500
            )

    return handle


@_as_it_was
async def up(request: web.Request) -> web.Response:
    """Bring the services of a configuration up; answers when they run."""
    table = await table_of(request)
    if "config" not in table:
        raise InvalidInput("config: is missing")
    document, group = inner_table(table, "config"), _group(table)
    project = await asyncio.to_thread(
        parse_project, document, remote_reading(secrets=True), folder=Path("/"), shown="config"
    )
    services = daemon_of(request).services
    before = _running(_status(daemon_of(request), project.name))
    after = await unless_gone(request, services.up(project, group=group))
    return web.json_response({"started_services": sorted(_running([after]) - before)})


@_as_it_was
async def down(request: web.Request) -> web.Response:
    """Stop all services, or those of a group."""
    table = await table_of(request)
    daemon, group = daemon_of(request), _group(table)
    stopped: set[str] = set()
    for project in _projects(daemon, table, group):
        before = _running([project])
        after = await daemon.services.down(project.name, group=group)
        stopped |= before - _running([after])
    return web.json_response({"stopped_services": sorted(stopped)})


@_as_it_was
async def status(request: web.Request) -> web.Response:
    """Every service with its state and what it uses."""
    daemon = daemon_of(request)
    found = [view(daemon, service) for project in _status(daemon) for service in project.services]
    return web.json_response({"services": found})


@_as_it_was
async def remove(request: web.Request) -> web.Response:
    """Remove services that do not run, by name or by group."""
    table = await table_of(request)
    daemon, group, names = daemon_of(request), _group(table), texts_of(table, "services")
    if bool(names) == (group is not None):
        raise InvalidInput("give either services or a group")
    removed: set[str] = set()
    known: set[str] = set()
    for project in _projects(daemon, table, group):
        there = {service.name for service in project.services}
        wanted = sorted(there & set(names)) if names else None
        known |= there
        if wanted != []:
            before = {one.name for one in project.services if one.instances}
            await daemon.services.remove(project.name, services=wanted, group=group)
            after = {
                one.name for left in _status(daemon, project.name) for one in left.services if one.instances
            }
            removed |= before - after
    if missing := sorted(set(names or ()) - known):
        raise NotFound(f"there is no service {missing[0][:80]!r}")
    return web.json_response({"removed_services": sorted(removed)})


ENTRIES: Final = (
    Entry("POST", "/up", up, Scope.ADMIN),
    Entry("POST", "/down", down, Scope.ADMIN),
    Entry("GET", "/status", status, Scope.READ),
    Entry("POST", "/remove", remove, Scope.ADMIN),
)


def view(daemon: Daemon, service: ServiceStatus) -> dict[str, object]:
    """A service in the shape of 0.2.1; of several instances, the first that is not as it should be speaks for all."""
    running = [one for one in service.instances if one.state is SandboxState.RUNNING]
    shown = next((one for one in service.instances if one not in running), next(iter(running), None))
    used = [_used(daemon, one) for one in running]
    return {
        "name": service.name,
        "group": service.group or None,
        "status": "Unstarted" if shown is None else state_of(shown),
        "pid": next((one.pid for one in running), None),
        "metrics": {
            "cpu_usage": round(sum(cpu for cpu, _ in used), 3),
            "memory_usage": sum(memory for _, memory in used),
        },
    }


def state_of(instance: InstanceStatus) -> object:
    """Its state in the words of 0.2.1. One that ended has its exit code, which 0.2.1 never set."""
    if instance.state in _STATES:
        return _STATES[instance.state]
    if instance.exit_reason in ("start-failed", "vmm-failed", "lost"):
        return {"Failed": {"error": instance.exit_detail}}
    return {"Stopped": {"exit_code": instance.exit_code or 0}}


def _used(daemon: Daemon, instance: InstanceStatus) -> tuple[float, int]:
    """Percent of a processor, and bytes, as last measured."""
    history = daemon.figures.history(instance.id)
    latest = None if history is None else history.latest
    rate = None if history is None else history.rates()
    cpu = rate.cpu if rate is not None else None
    return (cpu or 0.0) * 100, (latest.host.rss or 0) if latest is not None else 0


def _status(daemon: Daemon, name: str | None = None) -> tuple[ProjectStatus, ...]:
    """Of every project, or of one, which may not exist."""
    if name is not None and name not in daemon.services.projects():
        return ()
    return daemon.services.status(name)


def _projects(daemon: Daemon, table: Mapping[str, object], group: str | None) -> list[ProjectStatus]:
    """Those that are meant; of a group, those that have it.

    Raises:
        NotFound: there is no such project, or none with such a group.
    """
    name = table.get("project")
    if name is not None and not isinstance(name, str):
        raise InvalidInput("project is not text")
    found = [
        project
        for project in daemon.services.status(name)
        if group is None or any(service.group == group for service in project.services)
    ]
    if group is not None and not found:
        raise NotFound(f"there is no group {group[:80]!r}")
    return found


def _group(table: Mapping[str, object]) -> str | None:
    group = table.get("group")
    if group is not None and not isinstance(group, str):
        raise InvalidInput("group is not text")
    return group


def _running(projects: Iterable[ProjectStatus]) -> set[str]:
    return {
        service.name
        for project in projects
        for service in project.services
        if any(one.state is SandboxState.RUNNING for one in service.instances)
    }
