"""Routes: projects, the services of a file together. What an operation does is told line by line; the last line is its result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from attrs import evolve

from monocore_core.config.project import Reading, load_project, parse_project, remote_reading
from monocore_core.errors import InvalidInput
from monocore_core.model.access import Scope
from monocore_core.model.record import SettingsSource
from monocore_core.model.service import Project
from monocore_core.orchestrator.events import Progress, ServiceEvent, Told
from monocore_core.orchestrator.status import ProjectStatus
from monocore_core.serde import structure, unstructure
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import checked_number, inner_table, table_of, texts_of
from monocore_core.server.routing import Room
from monocore_core.server.sandboxes import MAX_GRACE
from monocore_core.server.telling import Work, told
from monocore_core.server.views import view_of_event

ROUTES = Room()


@ROUTES.get("/v1/projects", Scope.READ)
async def list_all(request: web.Request) -> web.Response:
    """Every project."""
    found = daemon_of(request).services.status()
    return web.json_response({"projects": [view(project) for project in found]})


@ROUTES.get("/v1/projects/{name}", Scope.READ)
async def inspect(request: web.Request) -> web.Response:
    """One project."""
    (found,) = daemon_of(request).services.status(request.match_info["name"])
    return web.json_response(view(found))


@ROUTES.post("/v1/projects/up", Scope.ADMIN)
async def up(request: web.Request) -> web.StreamResponse:
    """Bring services up."""
    table = await table_of(request)
    environ = _environ(table)
    project = await asyncio.to_thread(_project_of, table, environ)
    services, group = _names(table)
    settings = structure(inner_table(table, "settings"), SettingsSource, "settings")
    daemon = daemon_of(request)

    async def work(tell: Told) -> object:
        return view(
            await daemon.services.up(
                project,
                services=services,
                group=group,
                recreate=table.get("recreate") is True,
                remove_orphans=table.get("remove_orphans") is True,
                wait=table.get("wait") is True,
                environ=environ,
                settings=settings,
                on_event=tell,
            )
        )

    return await _told(request, work, first={"project": project.name, "warnings": list(project.warnings)})


@ROUTES.post("/v1/projects/{name}/down", Scope.ADMIN)
async def down(request: web.Request) -> web.StreamResponse:
    """Stop services."""
    table = await table_of(request)
    services, group = _names(table)
    seconds = _grace(table)
    daemon, name = daemon_of(request), request.match_info["name"]

    async def work(tell: Told) -> object:
        return view(
            await daemon.services.down(name, services=services, group=group, grace=seconds, on_event=tell)
        )

    return await _told(request, work)


@ROUTES.post("/v1/projects/{name}/restart", Scope.ADMIN)
async def restart(request: web.Request) -> web.StreamResponse:
    """Stop services, and start them again."""
    table = await table_of(request)
    services, group = _names(table)
    seconds = _grace(table)
    daemon, name = daemon_of(request), request.match_info["name"]

    async def work(tell: Told) -> object:
        return view(
            await daemon.services.restart(name, services=services, group=group, grace=seconds, on_event=tell)
        )

    return await _told(request, work)


@ROUTES.post("/v1/projects/{name}/remove", Scope.ADMIN)
async def remove(request: web.Request) -> web.StreamResponse:
    """Remove what has stopped."""
    table = await table_of(request)
    services, group = _names(table)
    daemon, name = daemon_of(request), request.match_info["name"]

    async def work(tell: Told) -> object:
        removed = await daemon.services.remove(
            name, services=services, group=group, force=table.get("force") is True, on_event=tell
        )
        return {"name": name, "removed": list(removed), "services": []}

    return await _told(request, work)


def view(project: ProjectStatus) -> dict[str, object]:
    """A project, as plain data."""
    plain = unstructure(project)
    assert isinstance(plain, dict)  # noqa: S101 - for the type checkers: attrs values become tables
    return {str(key): value for key, value in plain.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - cattrs' tables


def view_of_progress(event: Progress) -> dict[str, object]:
    """Something that happened to a service, or on the way to it."""
    if not isinstance(event, ServiceEvent):
        return view_of_event(event)
    return {
        "type": "ServiceEvent",
        "kind": event.kind,
        "project": event.project,
        "service": event.service,
        "instance": event.instance,
        "sandbox": event.sandbox,
        "text": event.text,
        "facts": dict(event.facts),
    }


async def _told(
    request: web.Request, work: Work[Progress], *, first: Mapping[str, object] | None = None
) -> web.StreamResponse:
    return await told(request, work, view_of_progress, first=first)


def _project_of(table: Mapping[str, object], environ: Mapping[str, str]) -> Project:
    """The project of a file of this user's, or of a document. Reads files.

    Raises:
        InvalidInput: neither is given, or both. ConfigError: with everything that is wrong.
    """
    file, document = table.get("file"), table.get("document")
    profiles = frozenset(texts_of(table, "profiles") or ())
    if isinstance(file, str) and document is None:
        if not file.startswith("/"):
            raise InvalidInput(f"file {file[:200]!r} is not an absolute path")
        return load_project(Path(file), Reading(environ=environ, profiles=profiles), shown=file)
    if isinstance(document, dict) and file is None:
        folder = table.get("folder")
        where = Path(folder) if isinstance(folder, str) and folder.startswith("/") else Path("/")
        project = parse_project(
            inner_table(table, "document"), remote_reading(profiles, secrets=True), folder=where
        )
        return evolve(project, inactive=(*project.inactive, *(texts_of(table, "inactive") or ())))
    raise InvalidInput("give the path of a 'file', or a 'document', a table")


def _names(table: Mapping[str, object]) -> tuple[tuple[str, ...] | None, str | None]:
    group = table.get("group")
    if group is not None and not isinstance(group, str):
        raise InvalidInput("group is not text")
    return texts_of(table, "services") or None, group


def _grace(table: Mapping[str, object]) -> float | None:
    grace = table.get("grace")
    return None if grace is None else checked_number(grace, "grace", MAX_GRACE)


def _environ(table: Mapping[str, object]) -> dict[str, str]:
    return {name: value for name, value in inner_table(table, "environ").items() if isinstance(value, str)}
