"""A daemon elsewhere, and how to get there: what a command line, its environment and its contexts say, put together."""

from __future__ import annotations

from collections.abc import Mapping

from monocore_core.client.connection import Way
from monocore_core.client.trust import Trust
from monocore_core.client.urls import Url
from monocore_core.errors import InvalidInput, Unauthorized

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket


class Remote:
    """A daemon that is not started by who wants it.

    Attributes:
        url: where it is.
        named_by: what says so, for messages: ``--host``, ``context 'lab'`` ….
        token: sent with every request, or "". Never shown.
        token_of: where it is from, for messages.
        tls: for ``https``.
    """

    __slots__ = ("named_by", "tls", "token", "token_of", "url")

    def __init__(
        self,
        url: Url,
        *,
        named_by: str,
        token: str = "",
        token_of: str = "",
        tls: Trust | None = None,
        plain: bool = False,
    ) -> None:
        """Put it together.

        Args:
            url: where it is.
            named_by: what says so.
            token: or "".
            token_of: what says so.
            tls: for ``https``.
            plain: a token may be sent where others can read it, since something else encrypts.

        Raises:
            InvalidInput: the token has characters that none has. Unauthorized: others could read it.
        """
        check_token(token)
        if token and url.scheme == "http" and not (url.loopback or plain):
            raise Unauthorized(
                f"the token would be sent to {url} without TLS, and whoever is in between could read it",
                hint="use https://; where something else encrypts: MONOCORE_ALLOW_PLAIN_TEXT=1",
            )
        self.url = url
        self.named_by = named_by
        self.token = token
        self.token_of = token_of
        self.tls = tls or Trust()

    @property
    def way(self) -> Way:
        """For :mod:`.connection`."""
        return self.url.path or self.connect

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every request."""
        host = {"Host": self.url.authority} if self.url.host else {}
        return {**host, "Authorization": f"Bearer {self.token}"} if self.token else host

    def connect(self) -> socket.socket:
        """Connect over TCP, with TLS where the URL says so. Nothing is sent before the other end is known to be the right one.

        Raises:
            InvalidInput: a file of TLS cannot be used.
            Unreachable: nobody listens there. Unauthorized: one of us does not trust the other's certificate.
        """
        from monocore_core.client.tcp import connect_tcp  # noqa: PLC0415 - most commands are for this host

        base = str(self.url)
        if self.url.scheme != "https":
            return connect_tcp(self.url.host, self.url.port, base)
        from monocore_core.client.tls import context_of, secured  # noqa: PLC0415 - ssl takes long to import

        context = context_of(self.tls)
        made = connect_tcp(self.url.host, self.url.port, base)
        return secured(made, context, self.url.host, base)


def check_token(token: str) -> None:
    """Refuse what would be more than a token in a header.

    Raises:
        InvalidInput: it has characters that none has.
    """
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput("the token has characters that none has")
