"""Route: all that there is, and from then on what has changed of it, for who looks on. One answer, instead of questions again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Final

from aiohttp import web

from monocore_core.inventory import image_summary
from monocore_core.model.access import Access, Scope
from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.server.access import access_of, sees
from monocore_core.server.app import Daemon, daemon_of
from monocore_core.server.inside import figures_of
from monocore_core.server.projects import view as view_of_project
from monocore_core.server.routing import Entry, Reach
from monocore_core.server.streams import stream_lines
from monocore_core.server.views import view

#: Sandboxes and refusals that are shown at most: the latest.
MAX_SANDBOXES, MAX_REFUSALS = 500, 200
#: Seconds between two measurements, between two looks at what nobody tells of (images), and between two lines at least and at most.
FIGURES, LOOK, LEAST, QUIET = 3.0, 10.0, 0.2, 15.0


async def live(request: web.Request) -> web.StreamResponse:
    """What there is, and what changes: a line for the beginning, and one for each change, with the parts that are new."""
    return await stream_lines(request, _lines(daemon_of(request), access_of(request)))


ENTRIES: Final = (Entry("GET", "/v1/live", live, Scope.READ, Reach.CHOSEN),)


async def _lines(daemon: Daemon, access: Access) -> AsyncGenerator[Mapping[str, object]]:
    happenings = daemon.sandboxes.book.happenings
    told: dict[str, object] = {}
    looked = measured = spoke = -1e9
    seen = -1
    going_on = True
    while going_on:
        now = time.monotonic()
        found: dict[str, object] = {}
        if happenings.last != seen or now - looked >= LOOK:
            seen, looked = happenings.last, now
            found |= await _parts(daemon, access)
        if now - measured >= FIGURES:
            measured = now
            found["figures"] = await figures_of(daemon, _running(_seen(daemon, access)))
        news = {name: part for name, part in found.items() if told.get(name) != part}
        if news or now - spoke >= QUIET:
            told |= news
            spoke = now
            yield {"time": time.time(), **news}
        await asyncio.sleep(LEAST)
        going_on = await happenings.changed(seen, FIGURES - LEAST)


async def _parts(daemon: Daemon, access: Access) -> dict[str, object]:
    """What there is, for who has ``access``; what is of no group is not for who is limited to groups."""
    records = _seen(daemon, access)
    found: dict[str, object] = {
        "daemon": {"version": daemon.version, "started": daemon.started},
        "access": {"who": access.who, "scope": access.scope.value, "groups": list(access.groups)},
        "sandboxes": [view(record) for record in records[:MAX_SANDBOXES]],
        "more": max(0, len(records) - MAX_SANDBOXES),
        "denied": _refusals(
            daemon, {record.id: record.name for record in records}, everything=not access.groups
        ),
    }
    if not access.groups:
        engine = await daemon.sandboxes.engines.base()
        images = await asyncio.to_thread(engine.store.images)
        found["images"] = [image_summary(image) for image in images]
        found["projects"] = [view_of_project(project) for project in daemon.services.status()]
    return found


def _seen(daemon: Daemon, access: Access) -> list[SandboxRecord]:
    """The sandboxes that somebody may see: first those that run, the latest first."""
    records = [record for record in daemon.sandboxes.all() if sees(access, record)]
    return sorted(records, key=lambda record: (not record.state.live, -record.created))


def _running(records: Iterable[SandboxRecord]) -> list[SandboxRecord]:
    return [one for one in records if one.state in (SandboxState.RUNNING, SandboxState.PAUSED)][
        :MAX_SANDBOXES
    ]


def _refusals(daemon: Daemon, names: Mapping[str, str], *, everything: bool) -> list[dict[str, object]]:
    """Connections that were denied of late, the latest first."""
    found = [
        {
            **happening.facts,
            "number": happening.number,
            "time": happening.time,
            "sandbox": happening.sandbox,
            "name": names.get(happening.sandbox, ""),
        }
        for happening in reversed(daemon.sandboxes.book.happenings.since(0))
        if happening.kind == "denied" and (everything or happening.sandbox in names)
    ]
    return found[:MAX_REFUSALS]
