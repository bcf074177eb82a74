"""Services of projects (``docs/api.md``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from monocore_core.client.sdk import service_routes
from monocore_core.client.sdk.aio.link import Link
from monocore_core.client.sdk.calls import Call
from monocore_core.client.sdk.progress import Lines
from monocore_core.client.tables import Table

Told = Callable[[Table], None]


class Services:
    """Projects, by their names. What happens on the way is told to ``on_event``; cancellation gives it up."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def up(
        self,
        project: str | Path | Table,
        *,
        services: Sequence[str] = (),
        profiles: Sequence[str] = (),
        recreate: bool = False,
        remove_orphans: bool = False,
        wait: bool = False,
        on_event: Told | None = None,
    ) -> Table:
        """Bring services up; gives the project's status.

        Args:
            project: path of a ``monocore.toml`` that the daemon reads, or the document itself, a table.
            services: these, and what they depend on; all when there are none.
            profiles: that are on.
            recreate: also what has not changed.
            remove_orphans: remove what the project does not have any more.
            wait: until they are healthy.
            on_event: called with each event.

        Raises:
            ConfigError: with everything that is wrong. ServicesFailed: some are not where they were to be.
        """
        wanted = service_routes.Up(tuple(services), tuple(profiles), recreate, remove_orphans, wait)
        return await self._told(service_routes.up(project, wanted), on_event)

    async def down(
        self,
        project: str,
        *,
        services: Sequence[str] = (),
        grace: float | None = None,
        on_event: Told | None = None,
    ) -> Table:
        """Stop services; all when none are named. ``grace``: seconds until force; None: each one's own."""
        return await self._told(service_routes.of_project(project, "down", services, grace=grace), on_event)

    async def restart(
        self,
        project: str,
        *,
        services: Sequence[str] = (),
        grace: float | None = None,
        on_event: Told | None = None,
    ) -> Table:
        """Stop services, and start them again; ``grace`` as for :meth:`down`."""
        return await self._told(
            service_routes.of_project(project, "restart", services, grace=grace), on_event
        )

    async def remove(
        self,
        project: str,
        *,
        services: Sequence[str] = (),
        force: bool = False,
        on_event: Told | None = None,
    ) -> Table:
        """Remove what has stopped; with ``force`` what runs, too."""
        return await self._told(service_routes.of_project(project, "remove", services, force=force), on_event)

    async def status(self, project: str) -> Table:
        """A project's status.

        Raises:
            NotFound: there is none.
        """
        return await self._link.call(service_routes.project(project))

    async def list(self) -> tuple[Table, ...]:
        """Every project's status."""
        return await self._link.call(service_routes.projects())

    async def _told(self, call: Call[Table], on_event: Told | None) -> Table:
        heard = Lines(on_event)
        async with aclosing(self._link.lines(call)) as lines:
            async for line in lines:
                heard.take(line)
        return heard.result()
