"""A row of the table of routes: which handler answers what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from attrs import frozen

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@frozen
class Entry:
    """One route.

    Attributes:
        method: of HTTP.
        path: with ``{names}`` of its parts.
        handler: answers it; the first line of its docstring says what it does.
    """

    method: str
    path: str
    handler: Handler


def routes_of(entries: Iterable[Entry]) -> list[web.RouteDef]:
    """For :meth:`aiohttp.web.Application.add_routes`."""
    return [web.route(entry.method, entry.path, entry.handler) for entry in entries]
