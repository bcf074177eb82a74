"""Where a daemon is: a Unix socket of this host, or a URL with a token."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping

from attrs import field, frozen

from monocore_core.client.daemon import place_of
from monocore_core.client.remote import check_token
from monocore_core.client.tcp import connect_tcp
from monocore_core.client.tls import secured
from monocore_core.client.urls import PORT, parse_url
from monocore_core.errors import InvalidInput

__all__ = ["PORT", "Endpoint", "endpoint_of"]
_USUAL_HOST = "monocore"


@frozen
class Endpoint:
    """A daemon that can be connected to.

    Attributes:
        path: of the Unix socket, or None for a remote one.
        host: name or address, of a remote one.
        port: of TCP.
        token: sent with every request, or "".
        tls: how the connection is made secure, or None for one that is not.
    """

    path: str | None = None
    host: str = _USUAL_HOST
    port: int = 0
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def base(self) -> str:
        """The URL that targets are added to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = host if self.path is not None else f"{host}:{self.port}"
        return f"{'http' if self.tls is None else 'https'}://{where}"

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def named_headers(self) -> Mapping[str, str]:
        """The same, with the host's name, for who does not make it of the URL."""
        return {"Host": self.base.partition("://")[2], **self.headers}

    def connect(self) -> socket.socket:
        """Connect to a remote one.

        Raises:
            Unreachable: nobody listens there. Unauthorized: one of us does not trust the other's certificate.
        """
        made = connect_tcp(self.host, self.port, self.base)
        return made if self.tls is None else secured(made, self.tls, self.host, self.base)


def endpoint_of(
    url: str | None = None,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    home: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Endpoint:
    """The daemon that is meant; one of this host is started when none listens, as the command line does.

    Args:
        url: ``https://host:port``, ``http://…``, ``unix:///path``; None: the daemon of the home.
        token: for a remote one.
        tls: see :func:`monocore_core.client.tls_context`; None: the host's authorities are trusted.
        home: of the local one; None: as configured (``MONOCORE_HOME``, ``monocore.toml``, ``~/.monocore``).
        environ: the process's own, unless given.

    Raises:
        InvalidInput: the URL is none. MonocoreError: the daemon cannot be started, and why.
    """
    if url is not None:
        if home is not None:
            raise InvalidInput("a home is of this host, a url of another", hint="give one of them")
        return _remote(url, token or "", tls)
    from monocore_core.client.starting import ensure  # noqa: PLC0415 - remote ones are not started

    around = os.environ if environ is None else environ
    wanted = None if home is None else os.fspath(home)
    place = place_of(home=wanted, config=None, environ=around, cwd=os.getcwd())
    ensure(place, around)
    return Endpoint(path=place.socket, token=token or "")


def _remote(url: str, token: str, tls: ssl.SSLContext | None) -> Endpoint:
    parsed = parse_url(url)
    check_token(token)
    if parsed.scheme == "unix":
        return Endpoint(path=parsed.path, token=token)
    context = (tls or ssl.create_default_context()) if parsed.scheme == "https" else None
    return Endpoint(host=parsed.host, port=parsed.port, token=token, tls=context)
