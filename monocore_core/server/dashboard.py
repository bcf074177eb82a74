"""Routes: a page for browsers that shows what there is, and a way to it for who has only the Unix socket.

The page and its parts are answered to everybody, since they tell nothing; what it shows needs a token, which it keeps in memory and sends
in a header. Cookies would be sent to every port of this host, to a web server in a sandbox, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from functools import cache
from importlib import resources
from ipaddress import IPv4Address
from typing import Final

from aiohttp import web

from monocore_core.errors import InvalidInput, Unauthenticated, Unauthorized
from monocore_core.model.access import Scope
from monocore_core.server.access import local
from monocore_core.server.app import Daemon, daemon_of
from monocore_core.server.bodies import table_of
from monocore_core.server.gate import answering, hang_up_on
from monocore_core.server.routing import Entry, Handler, Reach
from monocore_core.server.streams import stream_lines
from monocore_core.server.tcp import bound

#: Nothing from elsewhere, no program but ours, and no text ever taken for markup. Styles: the terminal makes its own.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
#: Path in the package, and media type, by the name below ``/dashboard/``.
FILES: Final[Mapping[str, tuple[str, str]]] = {
    "style.css": ("dashboard/style.css", "text/css"),
    "icon.svg": ("dashboard/icon.svg", "image/svg+xml"),
    "app.js": ("dashboard/app.js", "text/javascript"),
    "wire.js": ("dashboard/wire.js", "text/javascript"),
    "parts.js": ("dashboard/parts.js", "text/javascript"),
    "views.js": ("dashboard/views.js", "text/javascript"),
    "panel.js": ("dashboard/panel.js", "text/javascript"),
    "xterm.js": ("vendor/xterm/xterm.mjs", "text/javascript"),
    "xterm-fit.js": ("vendor/xterm/addon-fit.mjs", "text/javascript"),
    "xterm.css": ("vendor/xterm/xterm.css", "text/css"),
}


async def page(request: web.Request) -> web.Response:
    """A page for people: what runs, what it says, and a terminal in it."""
    return _answer(request, "dashboard/index.html", "text/html")


async def change(request: web.Request) -> web.Response:
    """Change the code of `monocore dashboard`, once, for a token."""
    guard = daemon_of(request).guard
    code = (await table_of(request)).get("code")
    text = guard.passes.redeem(code) if isinstance(code, str) and code.isascii() else None
    if text is None:
        if not local(request):
            guard.failed(request)
        raise Unauthenticated("the code is not valid, or was used", hint="run monocore dashboard again")
    return web.json_response({"token": text}, headers={"Cache-Control": "no-store"})


async def open_(request: web.Request) -> web.StreamResponse:
    """Listen on the loopback for a browser, as long as the client stays. Only for who comes by the Unix socket."""
    if not local(request):
        raise Unauthorized(
            "this is for the home's owner, who comes by the Unix socket", hint="open /dashboard here"
        )
    port = (await table_of(request)).get("port", 0)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port < 65536:
        raise InvalidInput(f"port: {str(port)[:40]!r} is not a port")
    return await stream_lines(request, _opened(daemon_of(request), port))


async def _opened(daemon: Daemon, port: int) -> AsyncGenerator[Mapping[str, object]]:
    server = daemon.server
    assert server is not None  # noqa: S101 - it answers this
    with daemon.guard.passes.opened() as code, bound(IPv4Address("127.0.0.1"), port) as sock:
        address = sock.getsockname()
        try:
            async with answering(server, sock, None, daemon.gate):
                yield {"url": f"http://127.0.0.1:{address[1]}/dashboard", "code": code}
                while await daemon.sandboxes.book.happenings.changed(
                    daemon.sandboxes.book.happenings.last, 3600.0
                ):
                    pass
        finally:
            hang_up_on(server, address)


def _file(path: str, content_type: str) -> Handler:
    async def serve(request: web.Request) -> web.Response:
        """A part of the page."""
        return _answer(request, path, content_type)

    return serve


def _answer(request: web.Request, path: str, content_type: str) -> web.Response:
    data, tag = _content(path)
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=data, content_type=content_type, charset="utf-8", headers=headers)


@cache
def _content(path: str) -> tuple[bytes, str]:
    data = resources.files("monocore_core.server").joinpath("static", *path.split("/")).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'


ENTRIES: Final = (
    Entry("GET", "/dashboard", page, Scope.READ, Reach.NOTHING, open=True),
    *(
        Entry("GET", f"/dashboard/{name}", _file(*where), Scope.READ, Reach.NOTHING, open=True)
        for name, where in FILES.items()
    ),
    Entry("POST", "/dashboard/pass", change, Scope.READ, Reach.NOTHING, open=True),
    Entry("POST", "/v1/dashboard", open_, Scope.ADMIN),
)
