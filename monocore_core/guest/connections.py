r"""Connections made from inside a guest: what a health check or a forwarded port speaks through, without any network of the host.

Worked example::

    async with await guest.dial(8080) as stream:
        await stream.write(b"GET / HTTP/1.0\r\n\r\n")
        await stream.close_write()
        while part := await stream.read():
            ...
"""

from __future__ import annotations

import ipaddress
from typing import Self

from monocore_core.errors import GuestError, InvalidInput
from monocore_core.guest.operation import Operation
from monocore_core.guest.session import Session
from monocore_core.guest.streams import ByteStream
from monocore_core.guest.wire import Channel, Kind, put

#: Bytes of a Unix socket's path (``sun_path`` without its NUL).
MAX_SOCKET_PATH = 107


class GuestStream:
    """A connection from inside the guest: both directions, each with an end and flow control of its own."""

    def __init__(self, session: Session, operation: Operation) -> None:
        self._session = session
        self._operation = operation
        self._input: ByteStream = operation.outputs[Channel.OUT]
        self._write_closed = False

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """Up to ``limit`` bytes, at least one; ``b""`` when the other side sent its end or reset the connection.

        Raises:
            GuestError: the agent is gone.
        """
        return await self._input.read(limit)

    async def write(self, data: bytes) -> bool:
        """Send, waiting while the other side does not take more; False when it takes no more at all.

        Raises:
            GuestError: the agent is gone, or :meth:`close_write` was called.
        """
        if self._write_closed:
            raise GuestError("the connection's output was closed already")
        return await self._session.send_all(self._operation, data)

    async def close_write(self) -> None:
        """Send the end; reading goes on. A repeat does nothing."""
        if not self._write_closed:
            self._write_closed = True
            self._session.send(Kind.END, self._operation.id)

    async def aclose(self) -> None:
        """Close the connection; what was not read is lost. A repeat does nothing."""
        self._write_closed = True
        self._session.forget(self._operation)
        self._operation.fail(GuestError("the connection was closed"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def encode_dial(port: int, address: str, timeout: float) -> bytes:
    """Body of DIAL to a TCP port.

    Raises:
        InvalidInput: no such port, or not an address.
    """
    try:
        host = ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidInput(
            f"{address[:80]!r} is not an IP address", hint="names are not resolved; use 127.0.0.1 or ::1"
        ) from error
    if not 0 < port < 65536:
        raise InvalidInput(f"port {port} does not exist: 1 to 65535")
    return put(1, port) + put(2, str(host)) + _deadline(timeout)


def encode_dial_socket(path: str, timeout: float) -> bytes:
    """Body of DIAL to a Unix socket.

    Raises:
        InvalidInput: the path is not absolute, or longer than the kernel's 107 bytes.
    """
    raw = path.encode("utf-8", "surrogateescape")
    if not path.startswith("/") or b"\0" in raw or len(raw) > MAX_SOCKET_PATH:
        raise InvalidInput(f"{path[:80]!r} is no socket's path: absolute, at most {MAX_SOCKET_PATH} bytes")
    return put(3, raw) + _deadline(timeout)


def _deadline(seconds: float) -> bytes:
    return put(4, min(max(1, int(seconds * 1000)), 600_000))
