"""Routes: what is in a sandbox, and what it has said: logs, figures, processes, files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import TypeVar

from aiohttp import web
from attrs import evolve

from monocore_core.errors import InvalidInput, MonocoreError
from monocore_core.logs import LogLine, LogQuery, LogReader, Stream, render_json, render_text
from monocore_core.metrics import Sample, rates
from monocore_core.model.access import Scope
from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.serde import unstructure
from monocore_core.server.app import Daemon, daemon_of
from monocore_core.server.bodies import number, path_of, stream_of, switch
from monocore_core.server.processes import processes_of
from monocore_core.server.routing import Room
from monocore_core.server.streams import NDJSON, begin, stream_bytes, stream_lines

T = TypeVar("T")
ROUTES = Room()
FORMATS = ("lines", "json", "raw")
#: Seconds between two samples of a stream of them.
EVERY = 1.0
#: Seconds for which a sample of everything is new enough, and how many are measured at once.
FRESH, MEASURED_AT_ONCE = 2.0, 8
TAR = "application/x-tar"


@ROUTES.get("/v1/sandboxes/{id}/logs", Scope.READ)
async def logs(request: web.Request) -> web.StreamResponse:
    """What it wrote, and writes."""
    sandboxes = daemon_of(request).sandboxes
    record = sandboxes.get(request.match_info["id"])
    form = request.query.get("format", "lines")
    if form not in FORMATS:
        raise InvalidInput(f"unknown format {form[:40]!r}", hint=f"known: {', '.join(FORMATS)}")
    query, reader = _query(request), sandboxes.logs.reader(record.id)
    follow = switch(request, "follow") and record.state.live
    if form == "raw":
        return await _raw(request, reader, query, follow=follow)
    render = render_json if form == "json" else partial(render_text, timestamps=switch(request, "timestamps"))
    response = await begin(request, NDJSON if form == "json" else "text/plain; charset=utf-8")
    async with aclosing(_lines(reader, query, follow=follow)) as lines:
        async for line in lines:
            await response.write(render(line))
    await response.write_eof()
    return response


@ROUTES.get("/v1/sandboxes/{id}/stats", Scope.READ)
async def stats(request: web.Request) -> web.StreamResponse:
    """What it uses, once or again and again."""
    daemon = daemon_of(request)
    identity = daemon.sandboxes.life(request.match_info["id"]).record.id
    if switch(request, "stream"):
        return await stream_lines(request, _samples(daemon, identity))
    return web.json_response(_sample_view(await daemon.figures.now(identity), _latest(daemon, identity)))


@ROUTES.get("/v1/stats", Scope.READ)
async def all_stats(request: web.Request) -> web.Response:
    """What all that run use: as measured a moment ago, or now."""
    daemon = daemon_of(request)
    running = [
        one for one in daemon.sandboxes.all() if one.state in (SandboxState.RUNNING, SandboxState.PAUSED)
    ]
    return web.json_response({"stats": await figures_of(daemon, running)})


async def figures_of(daemon: Daemon, running: Sequence[SandboxRecord]) -> dict[str, object]:
    """What these use, by id, as measured a moment ago, or now; without those of which nothing is known."""
    oldest = time.time_ns() - int(FRESH * 1e9)
    at_once = asyncio.Semaphore(MEASURED_AT_ONCE)

    async def measure(identity: str) -> None:
        latest = _latest(daemon, identity)
        if latest is None or latest.time_ns < oldest:
            async with at_once:
                with contextlib.suppress(
                    MonocoreError
                ):  # it ends, or is paused: what was measured before is told
                    await daemon.figures.now(identity)

    await asyncio.gather(*(measure(record.id) for record in running))
    found: dict[str, object] = {}
    for record in running:
        history = daemon.figures.history(record.id)
        if history is not None and (latest := history.latest) is not None:
            rate = history.rates()
            found[record.id] = {
                **_plain(latest),
                "rates": None if rate is None else unstructure(rate),
                "name": record.name,
            }
    return found


@ROUTES.get("/v1/sandboxes/{id}/top", Scope.READ)
async def top(request: web.Request) -> web.Response:
    """The processes in it."""
    life = daemon_of(request).sandboxes.life(request.match_info["id"])
    with life.used():
        return web.json_response({"processes": await processes_of(life.sandbox.guest)})


@ROUTES.get("/v1/sandboxes/{id}/archive", Scope.RUN)
async def read_archive(request: web.Request) -> web.StreamResponse:
    """A file or folder of it, as a tar."""
    life, path = daemon_of(request).sandboxes.life(request.match_info["id"]), path_of(request)
    with life.used():
        async with aclosing(life.sandbox.guest.read_archive(path)) as chunks:
            return await stream_bytes(request, TAR, chunks)


@ROUTES.put("/v1/sandboxes/{id}/archive", Scope.RUN)
async def write_archive(request: web.Request) -> web.Response:
    """Unpack a tar into a folder of it."""
    life, path = daemon_of(request).sandboxes.life(request.match_info["id"]), path_of(request)
    with life.used():
        await life.sandbox.guest.write_archive(path, stream_of(request))
    return web.Response(status=204)


def _query(request: web.Request) -> LogQuery:
    streams = {
        stream
        for stream, name in ((Stream.STDOUT, "stdout"), (Stream.STDERR, "stderr"))
        if switch(request, name, default=True)
    }
    query = LogQuery(streams=frozenset(streams))
    since, until, tail = (number(request, name) for name in ("since", "until", "tail"))
    if since is not None:
        query = evolve(query, since_ns=int(since * 1e9))
    if until is not None:
        query = evolve(query, until_ns=int(until * 1e9))
    return query if tail is None else evolve(query, tail=int(tail))


async def _lines(reader: LogReader, query: LogQuery, *, follow: bool) -> AsyncGenerator[LogLine]:
    if follow:
        async with aclosing(reader.follow_lines(query)) as lines:
            async for line in lines:
                yield line
        return
    iterator = iter(reader.lines(query))
    while batch := await asyncio.to_thread(_some, iterator):
        for line in batch:
            yield line


async def _raw(
    request: web.Request, reader: LogReader, query: LogQuery, *, follow: bool
) -> web.StreamResponse:
    response = await begin(request, "application/octet-stream")
    if follow:
        async with aclosing(reader.follow_records(query)) as records:
            async for record in records:
                await response.write(record.data)
    else:
        iterator = iter(reader.records(query))
        while batch := await asyncio.to_thread(_some, iterator):
            await response.write(b"".join(record.data for record in batch))
    await response.write_eof()
    return response


async def _samples(daemon: Daemon, identity: str) -> AsyncGenerator[Mapping[str, object]]:
    before: Sample | None = None
    ended = daemon.sandboxes.life(identity).ended
    while not ended.done():
        sample = await daemon.figures.now(identity)
        yield _sample_view(sample, before)
        before = sample
        await asyncio.wait([ended], timeout=EVERY)


def _sample_view(sample: Sample, before: Sample | None) -> dict[str, object]:
    rate = rates(before, sample) if before is not None else None
    return {**_plain(sample), "rates": None if rate is None else unstructure(rate)}


def _latest(daemon: Daemon, identity: str) -> Sample | None:
    history = daemon.figures.history(identity)
    return None if history is None else history.latest


def _plain(sample: Sample) -> dict[str, object]:
    found: object = json.loads(json.dumps(unstructure(sample)))
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType] - cattrs' tables


def _some(iterator: Iterator[T], count: int = 512) -> list[T]:
    return list(islice(iterator, count))
