"""A daemon: its sandboxes, services and events."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Self, Unpack

from monocore_core.client.sdk import routes
from monocore_core.client.sdk.blocking.images import Images
from monocore_core.client.sdk.blocking.link import Link
from monocore_core.client.sdk.blocking.sandbox import Sandbox, made
from monocore_core.client.sdk.blocking.services import Services
from monocore_core.client.sdk.endpoint import Endpoint, endpoint_of
from monocore_core.client.sdk.values import Happening
from monocore_core.client.tables import Table


class Client:
    """A daemon of this host, or elsewhere: ``with Client.connect() as client``.

    Attributes:
        images: in its store.
        services: of projects.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._link = Link(endpoint)
        self.images = Images(self._link)
        self.services = Services(self._link)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        token: str | None = None,
        tls: SSLContext | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> Client:
        """Find the daemon; this host's is started when none runs.

        Args:
            url: ``https://host:port`` of one elsewhere, ``unix:///path``; None: of this host.
            token: for one elsewhere.
            tls: for ``https``, other than the usual.
            home: of this host's daemon.

        Raises:
            InvalidInput: the URL is none. MonocoreError: the daemon cannot be started, and why.
        """
        return cls(endpoint_of(url, token=token, tls=tls, home=home))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is kept open, and sandboxes run on: for programs that do the same with asyncio."""

    def create(self, image: str, **wishes: Unpack[routes.Wishes]) -> Sandbox:
        """A new sandbox that runs: ``with`` it, and it is removed at the end.

        Raises:
            ConfigError: with everything that is wrong with the wishes. NotFound, Unreachable, NothingFits …: it cannot be had.
        """
        return made(self._link, image, wishes)

    def get(self, identity: str) -> Sandbox:
        """The sandbox with an id, the beginning of one, or a name.

        Raises:
            NotFound: there is none.
        """
        return Sandbox(self._link, self._link.call(routes.get(identity)))

    def list(
        self, *, everything: bool = False, labels: Mapping[str, str] | None = None
    ) -> tuple[Sandbox, ...]:
        """The sandboxes that run; with ``everything`` those that have ended, too; those with all of the labels."""
        found = self._link.call(routes.list_sandboxes(everything=everything, labels=labels or {}))
        return tuple(Sandbox(self._link, info) for info in found)

    def events(self, *, after: int | None = None, follow: bool = True) -> Generator[Happening]:
        """What happens, and what happened after the event of that number."""
        return self._link.lines(routes.events(after=after, follow=follow))

    def info(self) -> Table:
        """Version, home and counts of the daemon."""
        return self._link.call(routes.about())
