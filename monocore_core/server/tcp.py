"""TCP sockets of the daemon: which addresses it may listen on, and how."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from attrs import frozen

from monocore_core.errors import ConfigError
from monocore_core.model.daemon import DaemonSettings


@frozen
class Listeners:
    """What is listened on besides the Unix socket.

    Attributes:
        sockets: bound.
        context: of TLS, or None without.
        fingerprint: SHA-256 of the certificate, in hex; "" without TLS.
    """

    sockets: tuple[socket.socket, ...] = ()
    context: ssl.SSLContext | None = None
    fingerprint: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients find it."""
        scheme = "http" if self.context is None else "https"
        return tuple(f"{scheme}://{_shown(*sock.getsockname()[:2])}" for sock in self.sockets)


@contextmanager
def listening_on_tcp(settings: DaemonSettings, home: Path) -> Generator[Listeners]:
    """Bind every address of ``daemon.listen``, and prepare TLS.

    Raises:
        ConfigError: an address may not, or cannot, be listened on; and what :func:`.certificate.tls_context` raises.
    """
    addresses = tuple(parse_address(text) for text in settings.listen)
    secure = settings.tls or bool(settings.tls_cert or settings.tls_client_ca)
    check_exposure(addresses, secure=secure, allow_plain=settings.allow_plain_text)
    if not addresses:
        yield Listeners()
        return
    context, shown = None, ""
    if secure:
        from monocore_core.server.certificate import tls_context  # noqa: PLC0415 - few listen with it

        context, shown = tls_context(settings, home)
    with ExitStack() as stack:
        sockets = tuple(stack.enter_context(bound(*address)) for address in addresses)
        yield Listeners(sockets, context, shown)


Address = tuple[IPv4Address | IPv6Address, int]


def parse_address(text: str) -> Address:
    """``127.0.0.1:3456`` or ``[::1]:3456``, as the configuration's reader leaves them."""
    host, _, port = text.rpartition(":")
    return ip_address(host.removeprefix("[").removesuffix("]")), int(port)


def check_exposure(addresses: tuple[Address, ...], *, secure: bool, allow_plain: bool) -> None:
    """Refuse to show tokens to a network.

    Raises:
        ConfigError: an address is not of the loopback, and there is no TLS, and nobody said that this is meant.
    """
    for address, port in addresses:
        if not (address.is_loopback or secure or allow_plain):
            raise ConfigError(
                f"{_shown(str(address), port)} can be reached from other hosts, and without TLS they can read tokens",
                hint="add --tls; where something else encrypts: --allow-plain-text",
            )


@contextmanager
def bound(address: IPv4Address | IPv6Address, port: int) -> Generator[socket.socket]:
    """A socket that listens on an address.

    Raises:
        ConfigError: it cannot.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((str(address), port))
            sock.listen(512)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {_shown(str(address), port)}: {error.strerror}",
                hint="choose another port: --listen ADDRESS:PORT",
            ) from error
        yield sock


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
