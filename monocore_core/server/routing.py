"""The table of routes: what answers what, and what a caller needs for it. An entry cannot be made without a scope."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum

from aiohttp import web
from attrs import Factory, define, field, frozen

from monocore_core.model.access import Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OF_ONE = "/v1/sandboxes/{id}"


class Reach(Enum):
    """Of what a route tells or what it changes, for tokens that are limited to groups."""

    NOTHING = "nothing"
    """Of no sandbox."""
    SANDBOX = "sandbox"
    """Of the sandbox in its path, whose group is compared before the handler is called."""
    CHOSEN = "chosen"
    """The handler leaves out, or refuses, what is of other groups."""
    HOME = "home"
    """Of everything: refused to tokens that are limited."""


def _usual_reach(entry: Entry) -> Reach:
    return Reach.SANDBOX if f"{entry.path}/".startswith(f"{_OF_ONE}/") else Reach.HOME


@frozen
class Entry:
    """One route.

    Attributes:
        method: of HTTP.
        path: with ``{names}`` of its parts.
        handler: answers it; the first line of its docstring says what it does.
        scope: that a token needs.
        reach: of what it is; where it is not said, the sandbox in the path, or else the whole home.
        open: whether it is answered to who has no token, and then tells nothing of the home: pages that ask for one.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope
    reach: Reach = field(default=Factory(_usual_reach, takes_self=True))
    open: bool = field(default=False, kw_only=True)

    @property
    def canonical(self) -> str:
        """The path as aiohttp names it: without the patterns of its parameters."""
        return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", self.path)


@define(eq=False)
class Room:
    """Collects the entries of a module, by decorators: ``@ROUTES.get("/v1/info", Scope.READ)``.

    Attributes:
        entries: so far.
    """

    entries: list[Entry] = field(factory=list[Entry])

    def get(self, path: str, scope: Scope, *reach: Reach) -> Callable[[Handler], Handler]:
        """What is asked."""
        return self._adder("GET", path, scope, reach)

    def post(self, path: str, scope: Scope, *reach: Reach) -> Callable[[Handler], Handler]:
        """What is done."""
        return self._adder("POST", path, scope, reach)

    def put(self, path: str, scope: Scope, *reach: Reach) -> Callable[[Handler], Handler]:
        """What is put somewhere."""
        return self._adder("PUT", path, scope, reach)

    def delete(self, path: str, scope: Scope, *reach: Reach) -> Callable[[Handler], Handler]:
        """What is removed."""
        return self._adder("DELETE", path, scope, reach)

    def _adder(
        self, method: str, path: str, scope: Scope, reach: tuple[Reach, ...]
    ) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            self.entries.append(Entry(method, path, handler, scope, *reach))
            return handler

        return add


def routes_of(entries: Iterable[Entry]) -> list[web.RouteDef]:
    """For :meth:`aiohttp.web.Application.add_routes`."""
    return [
        web.get(entry.path, entry.handler, allow_head=False)
        if entry.method == "GET"
        else web.route(entry.method, entry.path, entry.handler)
        for entry in entries
    ]
