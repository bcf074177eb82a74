"""Where a daemon is: a Unix socket of this host, or a URL with a token."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from monocore_core.client.connection import CONNECTING
from monocore_core.client.daemon import place_of
from monocore_core.errors import InvalidInput, Unauthorized, Unreachable

#: The port of a URL that has none.
PORT = 3456
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
            Unreachable: nobody listens there. Unauthorized: its certificate is not trusted.
        """
        try:
            made = socket.create_connection((self.host, self.port), CONNECTING)
        except OSError as error:
            raise Unreachable(f"the daemon at {self.base} cannot be reached: {error}") from error
        if self.tls is None:
            return made
        try:
            return wrapped(made, self.tls, self.host)
        except ssl.SSLError as error:
            made.close()
            raise Unauthorized(
                f"the daemon at {self.base} is not who it should be: {error.reason or error}",
                hint="give an ssl.SSLContext that trusts its certificate: tls=ssl.create_default_context(cafile=…)",
            ) from error
        except OSError as error:
            made.close()
            raise Unreachable(f"the daemon at {self.base} cannot be reached: {error}") from error


class TlsSocket(ssl.SSLSocket):
    """One that behaves as a plain socket does when nothing can be done at once, and never keeps back what it has decrypted."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As of a plain socket."""
        try:
            found = super().recv(buflen, flags)
            while found and len(found) < buflen and self.pending():
                found += super().recv(buflen - len(found), flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLEOFError:
            return b""
        return found

    def sendmsg(self, *args: object, **words: object) -> int:  # type: ignore[override] # the base has it only to refuse
        """Of the first buffer as much as goes: TLS has no scattered writes."""
        del words
        buffers = args[0] if args else ()
        if not isinstance(buffers, list) or not buffers:
            return 0
        first: object = buffers[0]  # pyright: ignore[reportUnknownVariableType] - of the caller
        if not isinstance(first, bytes | memoryview):
            raise TypeError("not a buffer")
        try:
            return self.send(first)  # pyright: ignore[reportUnknownArgumentType] - bytes, of whichever form
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error


def wrapped(made: socket.socket, context: ssl.SSLContext, host: str) -> socket.socket:
    """A connected socket, made secure. The context is used as it is, whatever else it is used for.

    Raises:
        ssl.SSLError, OSError: the other end is not trusted, or is gone.
    """
    usual, context.sslsocket_class = context.sslsocket_class, TlsSocket
    try:
        return context.wrap_socket(made, server_hostname=host)
    finally:
        context.sslsocket_class = usual


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
        tls: None: the host's certificates are trusted.
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
    place = place_of(home=wanted, config=None, environ=around, cwd=Path.cwd())
    ensure(place, around)
    return Endpoint(path=str(place.socket), token=token or "")


def _remote(url: str, token: str, tls: ssl.SSLContext | None) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError as error:
        raise InvalidInput(f"{url!r} is not a URL: {error}") from error
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput("the token has characters that none has")
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Endpoint(path=parts.path, token=token)
    if not _is_plain(parts):
        raise InvalidInput(f"{url!r} is not the URL of a daemon", hint=f"for example https://host:{PORT}")
    context = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
    return Endpoint(host=parts.hostname or "", port=port, token=token, tls=context)


def _is_plain(parts: SplitResult) -> bool:
    nothing_more = parts.path in ("", "/") and not parts.query and not parts.fragment
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and nothing_more
        and "@" not in parts.netloc
    )
