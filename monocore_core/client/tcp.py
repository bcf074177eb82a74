"""Connecting over TCP: what only a daemon elsewhere needs."""

from __future__ import annotations

import errno
import os
import socket

from monocore_core.client.connection import CONNECTING
from monocore_core.errors import Unreachable

#: macOS has another name for it.
_KEEPIDLE: int = getattr(socket, "TCP_KEEPIDLE", 0x10)


def connect_tcp(host: str, port: int, base: str) -> socket.socket:
    """Connect over TCP. An end that is lost without a word is noticed after a minute, however long nobody says anything.

    Args:
        host: name or address.
        port: of it.
        base: the daemon's URL, for messages.

    Raises:
        Unreachable: nobody listens there, or nothing is known of the host.
    """
    try:
        made = socket.create_connection((host, port), CONNECTING)
    except (OSError, UnicodeError) as error:
        raise _unreached(base, host, error) from error
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # keys are sent one by one
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (
        (_KEEPIDLE, 30),
        (socket.TCP_KEEPINTVL, 10),
        (socket.TCP_KEEPCNT, 3),
    ):
        made.setsockopt(socket.IPPROTO_TCP, option, seconds)
    return made


def _unreached(base: str, host: str, error: OSError | UnicodeError) -> Unreachable:
    if isinstance(error, socket.gaierror | UnicodeError):
        return Unreachable(f"the daemon at {base} cannot be reached: no address is known of {host}")
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"the daemon at {base} cannot be reached: nobody answered within {CONNECTING:g} s",
            hint="is the port open in what is between?",
        )
    hint = None
    if error.errno == errno.ECONNREFUSED:
        hint = "there, 'monocore serve --listen ADDRESS:PORT --tls' listens"
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return Unreachable(f"the daemon at {base} cannot be reached: {reason}", hint=hint)
