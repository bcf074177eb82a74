"""Requests on sockets: calls in, values out."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import TypeVar

from monocore_core.client.api import Api
from monocore_core.client.sdk.calls import Call
from monocore_core.client.sdk.endpoint import Endpoint
from monocore_core.client.tables import parse_table
from monocore_core.client.websocket import WebSocket

T = TypeVar("T")


class Link:
    """A daemon; each request has a connection of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._api = Api(endpoint.path or endpoint.connect, headers=endpoint.named_headers)

    def call(self, call: Call[T]) -> T:
        """Ask, and give what is answered.

        Raises:
            MonocoreError: what the daemon says; Unreachable, DeadlineExceeded: it does not say anything.
        """
        return call.read(self._api.call(call.method, call.where, call.body, timeout=call.timeout))

    def lines(self, call: Call[T]) -> Generator[T]:
        """The lines of an answer, as they come. Closing it tells the daemon to stop.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        with self._api.open(call.method, call.where, call.body, timeout=call.timeout) as answer:
            for line in answer.lines():
                yield call.read(parse_table(line))

    def chunks(self, where: str) -> Generator[bytes]:
        """The body of an answer, as it comes."""
        with self._api.open("GET", where) as answer, closing(answer.chunks()) as chunks:
            yield from chunks

    def put(self, where: str, pieces: Iterable[bytes]) -> None:
        """Send pieces."""
        with self._api.open("PUT", where, pieces, content_type="application/octet-stream"):
            pass

    def websocket(self, where: str) -> WebSocket:
        """A WebSocket."""
        return self._api.websocket(where)
