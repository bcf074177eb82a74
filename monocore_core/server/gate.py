"""TCP connections, before anything is known of who makes them: how many there may be, and how long each may take to say what it wants.

aiohttp closes a connection that is silent between two requests (``keepalive_timeout``). The first request of each has less time: one
that dribbles its head, or its TLS, holds no place.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from attrs import define, field

from monocore_core.server.guarding import network_of
from monocore_core.server.vanishing import told

#: Connections in all, and of one address (of IPv6: one network of 64 bits).
MOST, MOST_OF_ONE = 2048, 1024
#: Seconds until a connection's first request has its whole head; the same for TLS before it.
PATIENCE: Final = 20.0
BACKLOG: Final = 512


@define(eq=False)
class Gate:
    """Which connections are let in.

    Attributes:
        most: in all.
        most_of_one: of one address.
        patience: seconds for the head of the first request.
    """

    most: int = MOST
    most_of_one: int = MOST_OF_ONE
    patience: float = PATIENCE
    _open: Counter[str] = field(factory=Counter[str], init=False)
    _waiting: dict[asyncio.BaseTransport, asyncio.TimerHandle] = field(
        factory=dict[asyncio.BaseTransport, asyncio.TimerHandle], init=False
    )

    def said(self, transport: asyncio.BaseTransport | None) -> None:
        """The head of a request has come whole."""
        if transport is not None and (handle := self._waiting.pop(transport, None)) is not None:
            handle.cancel()

    def enter(self, transport: asyncio.Transport) -> str | None:
        """Let a connection in, whose place is given; None when there is none for it."""
        place = _place(transport)
        if self._open.total() >= self.most or self._open[place] >= self.most_of_one:
            return None
        self._open[place] += 1
        loop = asyncio.get_running_loop()
        self._waiting[transport] = loop.call_later(self.patience, self._lose_patience, transport)
        return place

    def leave(self, transport: asyncio.BaseTransport, place: str) -> None:
        """A connection that was let in has ended."""
        self.said(transport)
        self._open[place] -= 1
        if self._open[place] <= 0:
            del self._open[place]

    def _lose_patience(self, transport: asyncio.Transport) -> None:
        self._waiting.pop(transport, None)
        transport.abort()


class _Gated(asyncio.Protocol):
    """The protocol of a connection, behind the gate."""

    def __init__(self, gate: Gate, make: Callable[[], asyncio.Protocol]) -> None:
        self._gate = gate
        self._make = make
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._place = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP socket it is
        place = self._gate.enter(transport)
        if place is None:
            transport.abort()
            return
        self._transport, self._place = transport, place
        self._inner = self._make()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None and self._transport is not None:
            self._gate.leave(self._transport, self._place)
            self._inner.connection_lost(exc)
        self._inner = None


@asynccontextmanager
async def answering(
    server: web.Server, sock: socket.socket, context: ssl.SSLContext | None, gate: Gate
) -> AsyncGenerator[None]:
    """Answer on a TCP socket. At the end nobody else is let in; who is in stays."""
    timeout = gate.patience if context is not None else None
    listener = await asyncio.get_running_loop().create_server(
        lambda: _Gated(gate, server),
        sock=sock,
        ssl=context,
        backlog=BACKLOG,
        ssl_handshake_timeout=timeout,
    )
    try:
        yield
    finally:
        listener.close()


def hang_up_on(server: web.Server, address: object) -> None:
    """End every connection that was made to a socket of that name (``getsockname``)."""
    for handler in list(server.connections):
        transport = handler.transport
        if transport is not None and told(transport, "sockname") == address:
            transport.abort()


def _place(transport: asyncio.BaseTransport) -> str:
    peer: tuple[str, ...] | str | None = told(transport, "peername")
    return network_of(peer[0]) if isinstance(peer, tuple) else ""
