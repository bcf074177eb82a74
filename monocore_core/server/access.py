"""Who may do what: every request passes here, before its handler sees it.

Who comes by the Unix socket is the owner. Who comes over TCP needs a token, whatever is configured. What a route needs is in its
entry (:mod:`.routing`); a route without one is answered to nobody.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
from collections.abc import Iterable

from aiohttp import web
from attrs import define, field

from monocore_core.errors import LimitExceeded, NotFound, Unauthenticated, Unauthorized
from monocore_core.model.access import OWNER, Access
from monocore_core.model.record import SandboxOrder, SandboxRecord
from monocore_core.orchestrator.labels import GROUP
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.audit import Audit
from monocore_core.server.guarding import Failures, allowed_host, allowed_origin, bearer, offered
from monocore_core.server.passes import Passes
from monocore_core.server.routing import Entry, Handler, Reach
from monocore_core.server.vanishing import told
from monocore_core.store.tokens import Tokens

#: Names a request, in the answer and in the audit log; a client may choose it.
REQUEST_HEADER = "Monocore-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ACCESS: web.RequestKey[Access] = web.RequestKey("access", Access)
_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_LOCAL: web.RequestKey[bool] = web.RequestKey("local", bool)


@define(eq=False)
class Guard:
    """What decides about requests.

    Attributes:
        tokens: of the home.
        sandboxes: of the home.
        audit: is told.
        names: of this host, besides its addresses and ``localhost``.
        failures: of late.
        passes: of browsers.
    """

    tokens: Tokens
    sandboxes: Sandboxes
    audit: Audit
    names: tuple[str, ...] = ()
    failures: Failures = field(factory=Failures)
    passes: Passes = field(factory=Passes, init=False)
    _entries: dict[tuple[str, str], Entry] = field(factory=dict[tuple[str, str], Entry], init=False)

    def know(self, entries: Iterable[Entry]) -> None:
        """The routes that there are."""
        self._entries = {(entry.method, entry.canonical): entry for entry in entries}

    @web.middleware
    async def audited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Name the request, and write down how it ended. Outermost: errors are answers already."""
        given = request.headers.get(REQUEST_HEADER, "")
        request[_ID] = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
        request[_LOCAL] = _is_local(request.transport)  # which may be gone when it has been answered
        began = time.monotonic()
        outcome: int | str = "cancelled"
        try:
            response = await handler(request)
            outcome = response.status
            return response
        finally:
            self._write(request, outcome, time.monotonic() - began)

    @web.middleware
    async def checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through who may."""
        route = request.match_info.route.resource
        entry = self._entries.get((request.method, "" if route is None else route.canonical))
        if local(request):
            access = OWNER
        else:
            self._heard(request)
            if entry is not None and entry.open:
                return await handler(request)
            access = self._known(request)
        request[_ACCESS] = access
        if entry is not None:
            self._allow(access, entry, request.match_info.get("id", ""))
        elif request.match_info.http_exception is None:
            raise Unauthorized(f"{request.method} {request.path} has no scope: nobody may use it")
        return await handler(request)

    def _heard(self, request: web.Request) -> None:
        """Refuse who failed too often, and pages of others."""
        address, now = request.remote or "", time.monotonic()
        wait = self.failures.wait(address, now)
        if wait > 0:
            raise LimitExceeded(
                "too many requests from this address were refused", hint=f"try again in {wait:.0f} s"
            )
        host = request.headers.get("Host", "")
        if not allowed_host(host, self.names) or not allowed_origin(request.headers.get("Origin"), host):
            self.failures.add(address, now)
            raise Unauthorized(
                "the request's Host or Origin is not this daemon's",
                hint="use its address, or add its name to daemon.hosts",
            )

    def _known(self, request: web.Request) -> Access:
        """The access of a request over TCP."""
        text = bearer(request.headers.get("Authorization", "")) or offered(
            request.headers.get("Sec-WebSocket-Protocol", "")
        )
        if text is not None and (access := self.passes.find(text)) is not None:
            return access
        token = None if text is None else self.tokens.find(text)
        if token is None:
            self.failed(request)
            raise Unauthenticated(
                "a token is needed" if text is None else "the token is not valid, or not any more",
                hint="monocore token create makes one",
            )
        return token.access

    def failed(self, request: web.Request) -> None:
        """A request over TCP did not show what it needs."""
        self.failures.add(request.remote or "", time.monotonic())

    def _allow(self, access: Access, entry: Entry, identity: str) -> None:
        if not access.scope.includes(entry.scope):
            raise Unauthorized(
                f"{entry.method} {entry.path} needs a token of scope {entry.scope}, this one's is {access.scope}"
            )
        if not access.groups or entry.reach in (Reach.NOTHING, Reach.CHOSEN):
            return
        if entry.reach is Reach.HOME:
            raise Unauthorized(
                f"{entry.method} {entry.path} is about the whole home, and the token is limited to groups"
            )
        try:
            seen = sees(access, self.sandboxes.get(identity))
        except NotFound:
            seen = False
        if not seen:  # whether there is such a sandbox is nobody else's business
            raise Unauthorized(f"no sandbox {identity[:80]!r} is in the groups of the token")

    def _write(self, request: web.Request, outcome: int | str, seconds: float) -> None:
        access = request.get(_ACCESS)
        if access is OWNER and request.method == "GET" and "Upgrade" not in request.headers:
            return
        route = request.match_info.route.resource
        self.audit.write(
            {
                "time": round(time.time(), 3),
                "request": request_id(request),
                "who": None if access is None else access.who,
                "from": "unix" if local(request) else request.remote,
                "method": request.method,
                "route": None if route is None else route.canonical,
                "path": request.path[:512],
                "outcome": outcome,
                "seconds": round(seconds, 4),
            }
        )


def local(request: web.Request) -> bool:
    """Whether a request came by the Unix socket; where that cannot be known, it did not."""
    return _LOCAL in request and request[_LOCAL]


def _is_local(transport: asyncio.Transport | None) -> bool:
    connected = told(transport, "socket")
    return connected is not None and connected.family == socket.AF_UNIX


def access_of(request: web.Request) -> Access:
    """What the client of a request may do."""
    return request[_ACCESS]


def request_id(request: web.Request) -> str:
    """The name of a request, or "" before it has one."""
    return request[_ID] if _ID in request else ""  # noqa: SIM401 - get() has no type


def group_of(order: SandboxOrder) -> str:
    """The group that a sandbox is in: its network's, else its label's; "" for none."""
    network = order.sandbox.network
    return (network.group if network is not None else "") or order.labels.get(GROUP, "")


def sees(access: Access, record: SandboxRecord) -> bool:
    """Whether a sandbox is among those that somebody may see."""
    return not access.groups or group_of(record.order) in access.groups
