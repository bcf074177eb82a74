"""The application: which room answers what; errors become problem documents, and whatever is too much is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from aiohttp import web
from attrs import define, field

from monocore_core import __version__
from monocore_core.errors import MonocoreError
from monocore_core.metrics import Sampler
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.runtime.figures import Figures
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.access import REQUEST_HEADER, Guard, request_id
from monocore_core.server.audit import NAME as AUDIT
from monocore_core.server.audit import Audit
from monocore_core.server.gate import Gate
from monocore_core.server.idempotency import Keys
from monocore_core.server.problems import MEDIA_TYPE, problem, problem_of
from monocore_core.server.routing import Handler, routes_of
from monocore_core.store.tokens import Tokens

#: Says with every answer which version answers.
VERSION_HEADER = "Monocore-Version"
_BEGUN: web.RequestKey[bool] = web.RequestKey("begun", bool)
log = logging.getLogger("monocore.server")


@define(eq=False)
class Daemon:
    """What every route has.

    Attributes:
        sandboxes: of the home.
        services: of all projects.
        figures: of the sandboxes that run.
        ending: set when the daemon is to end; then whether sandboxes are stopped before.
        started: seconds since the epoch.
        version: of monocore.
        guard: decides who may do what.
        requests: under way.
        keys: of requests that may be sent again.
        gate: to its TCP sockets.
        server: that answers, once it does.
        touched: when the latest request ended, by :func:`time.monotonic`.
    """

    sandboxes: Sandboxes
    services: Orchestrator
    figures: Figures
    ending: asyncio.Future[bool]
    started: float = field(factory=time.time)
    version: str = __version__
    keys: Keys = field(factory=Keys)
    gate: Gate = field(factory=Gate)
    server: web.Server | None = field(default=None, init=False)
    guard: Guard = field(init=False)
    requests: int = 0
    touched: float = field(factory=time.monotonic)

    @classmethod
    def of(cls, services: Orchestrator, sampler: Sampler | None = None) -> Daemon:
        """For the running event loop."""
        figures = Figures(services.sandboxes, sampler or Sampler())
        return cls(services.sandboxes, services, figures, asyncio.get_running_loop().create_future())

    def __attrs_post_init__(self) -> None:
        sandboxes = self.sandboxes
        home = sandboxes.engines.settings.home
        names = sandboxes.engines.settings.daemon.hosts
        tokens = Tokens(sandboxes.book.records.database)
        self.guard = Guard(tokens, sandboxes, Audit(home / AUDIT), names)


DAEMON: web.AppKey[Daemon] = web.AppKey("daemon", Daemon)


def daemon_of(request: web.Request) -> Daemon:
    """The daemon that a request is to."""
    return request.app[DAEMON]


def make_app(daemon: Daemon) -> web.Application:
    """The application of a daemon."""
    from monocore_core.server.table import ENTRIES  # noqa: PLC0415 - its handlers use this module

    guard = daemon.guard
    guard.know(ENTRIES)
    app = web.Application(middlewares=[_counted, guard.audited, _explained, guard.checked], client_max_size=0)
    app[DAEMON] = daemon
    app.on_response_prepare.append(_versioned)
    app.add_routes(routes_of(ENTRIES))
    return app


async def _versioned(request: web.Request, response: web.StreamResponse) -> None:
    """A client of another version can say so."""
    request[_BEGUN] = True
    response.headers[VERSION_HEADER] = daemon_of(request).version
    response.headers[REQUEST_HEADER] = request_id(request)
    if response.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"


@web.middleware
async def _counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    daemon = daemon_of(request)
    daemon.requests += 1
    daemon.gate.said(request.transport)
    try:
        return await handler(request)
    finally:
        daemon.requests -= 1
        daemon.touched = time.monotonic()


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        refusal = _answer(
            problem(
                error.reason.replace(" ", ""),
                error.status,
                f"{request.method} {request.path}: {error.reason}",
            )
        )
        if "Allow" in error.headers:  # RFC 9110, section 15.5.6
            refusal.headers["Allow"] = error.headers["Allow"]
        return refusal
    except MonocoreError as error:
        return _cut_off(request) if _BEGUN in request else _answer(problem_of(error))
    except ConnectionResetError:
        return _cut_off(request)
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return _cut_off(request) if _BEGUN in request else _answer(problem_of(error))


def _cut_off(request: web.Request) -> web.Response:
    """End the connection, whose client went away, or has a part of an answer that it must not take for the whole."""
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=499)


def _answer(found: dict[str, object]) -> web.Response:
    status = found["status"]
    return web.Response(
        status=status if isinstance(status, int) else 500, text=json.dumps(found), content_type=MEDIA_TYPE
    )
