"""Routes: what this daemon answers, as an OpenAPI document, and as a page for people."""

from __future__ import annotations

from importlib import resources
from typing import Final

from aiohttp import web
from aiohttp.web_urldispatcher import DynamicResource

from monocore_core.model.access import Scope
from monocore_core.notation.form import Json
from monocore_core.server.openapi import described, document
from monocore_core.server.operations import OPERATIONS
from monocore_core.server.routing import Entry, Reach

#: Of WebSockets, which OpenAPI does not know.
_SOCKETS: Final = frozenset({"/v1/run", "/v1/sandboxes/{id}/attach"})
_POLICY: Final = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'"


def openapi_of(app: web.Application) -> dict[str, Json]:
    """The document of an application's routes: whatever it answers is in it."""
    found = [
        described(route.method, _pattern(route.resource), route.handler, OPERATIONS)
        for route in app.router.routes()
        if route.method not in ("*", "HEAD") and route.resource is not None
    ]
    return document(
        one
        for one in found
        if one.path not in _SOCKETS
        and not one.path.startswith("/dashboard/")
        and not (one.method == "GET" and one.path.endswith("/exec"))
    )


async def openapi(request: web.Request) -> web.Response:
    """This document."""
    return web.json_response(openapi_of(request.app))


async def page(request: web.Request) -> web.Response:
    """A page for people that shows this document."""
    del request
    return _static("api.html", "text/html")


async def script(request: web.Request) -> web.Response:
    """The page's program."""
    del request
    return _static("api.js", "text/javascript")


ENTRIES: Final = (
    Entry("GET", "/v1/openapi.json", openapi, Scope.READ, Reach.NOTHING),
    Entry("GET", "/v1/docs", page, Scope.READ, Reach.NOTHING),
    Entry("GET", "/v1/docs/api.js", script, Scope.READ, Reach.NOTHING),
)


def _static(name: str, content_type: str) -> web.Response:
    text = (resources.files("monocore_core.server") / "static" / name).read_text(encoding="utf-8")
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
    return web.Response(text=text, content_type=content_type, charset="utf-8", headers=headers)


def _pattern(resource: web.AbstractResource | None) -> str:
    """The path as it was registered, or nearly: a part's pattern may be lost, its name is not."""
    return resource.canonical if isinstance(resource, DynamicResource | web.Resource) else "/"
