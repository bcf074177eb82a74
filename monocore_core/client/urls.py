"""URLs of daemons. Pure."""

from __future__ import annotations

from monocore_core.errors import InvalidInput

#: The port of a URL that has none.
PORT = 3456
_HINT = f"for example https://host:{PORT}, or unix:///path/of/a/socket"


class Url:
    """Where a daemon is.

    Attributes:
        scheme: ``https``, ``http`` or ``unix``.
        host: name or address; "" of a Unix socket.
        port: of TCP; 0 of a Unix socket.
        path: of the Unix socket, absolute; else "".
    """

    __slots__ = ("host", "path", "port", "scheme")

    def __init__(self, scheme: str, host: str = "", port: int = 0, path: str = "") -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path

    @property
    def authority(self) -> str:
        """Host and port, as a ``Host`` header has them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether nobody but this host can read what is sent there."""
        four = self.host.startswith("127.") and self.host.replace(".", "").isdecimal()
        return self.scheme == "unix" or four or self.host in ("localhost", "::1")

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.scheme == "unix" else f"{self.scheme}://{self.authority}"


def parse_url(text: str) -> Url:
    """``https://host:port``, ``http://…`` (without TLS) or ``unix:///path``.

    Raises:
        InvalidInput: it is none of these.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415 - a local daemon has none

    try:
        parts = urlsplit(text)
        port = parts.port or PORT
    except ValueError as error:
        raise InvalidInput(f"{text[:200]!r} is not a URL: {error}") from error
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInput(f"{_without_secrets(text)!r} is not the URL of a daemon", hint=_HINT)
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Url("unix", path=parts.path)
    plain = bool(parts.hostname) and parts.path in ("", "/") and text.isascii() and text.isprintable()
    if parts.scheme not in ("http", "https") or not plain or " " in text:
        raise InvalidInput(f"{text[:200]!r} is not the URL of a daemon", hint=_HINT)
    return Url(parts.scheme, parts.hostname or "", port)


def _without_secrets(text: str) -> str:
    """What may be shown of a URL that has a name and a password, or a query."""
    return text.rpartition("@")[2].partition("?")[0].partition("#")[0][:200]
