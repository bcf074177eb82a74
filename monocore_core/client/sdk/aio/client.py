"""A daemon: its sandboxes, services and events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Self, Unpack

from monocore_core.client.sdk import routes
from monocore_core.client.sdk.aio.images import Images
from monocore_core.client.sdk.aio.link import Link
from monocore_core.client.sdk.aio.sandbox import Creation, Sandbox, made
from monocore_core.client.sdk.aio.services import Services
from monocore_core.client.sdk.endpoint import Endpoint, endpoint_of
from monocore_core.client.sdk.values import Happening
from monocore_core.client.tables import Table


class Client:
    """A daemon of this host, or elsewhere: ``async with await Client.connect() as client``.

    Attributes:
        images: in its store.
        services: of projects.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._link = Link(endpoint)
        self.images = Images(self._link)
        self.services = Services(self._link)

    @classmethod
    async def connect(
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
        return cls(await asyncio.to_thread(endpoint_of, url, token=token, tls=tls, home=home))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; sandboxes run on. A repeat does nothing."""
        await self._link.close()

    def create(self, image: str, **wishes: Unpack[routes.Wishes]) -> Creation:
        """A new sandbox that runs: ``async with`` it, and it is removed at the end; or ``await`` it.

        Raises:
            ConfigError: with everything that is wrong with the wishes. NotFound, Unreachable, NothingFits …: it cannot be had.
        """
        return Creation(lambda: made(self._link, image, wishes))

    async def get(self, identity: str) -> Sandbox:
        """The sandbox with an id, the beginning of one, or a name.

        Raises:
            NotFound: there is none.
        """
        return Sandbox(self._link, await self._link.call(routes.get(identity)))

    async def list(
        self, *, everything: bool = False, labels: Mapping[str, str] | None = None
    ) -> tuple[Sandbox, ...]:
        """The sandboxes that run; with ``everything`` those that have ended, too; those with all of the labels."""
        found = await self._link.call(routes.list_sandboxes(everything=everything, labels=labels or {}))
        return tuple(Sandbox(self._link, info) for info in found)

    def events(self, *, after: int | None = None, follow: bool = True) -> AsyncGenerator[Happening]:
        """What happens, and what happened after the event of that number."""
        return self._link.lines(routes.events(after=after, follow=follow))

    async def info(self) -> Table:
        """Version, home and counts of the daemon."""
        return await self._link.call(routes.about())
