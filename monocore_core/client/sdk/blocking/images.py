"""Images in the daemon's store (``docs/api.md``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from monocore_core.client.sdk import routes
from monocore_core.client.sdk.blocking.link import Link
from monocore_core.client.sdk.progress import Lines
from monocore_core.client.tables import Table


class Images:
    """Images, by reference or by the beginning of an id."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def pull(
        self, image: str, *, platform: str = "", on_event: Callable[[Table], None] | None = None
    ) -> Table:
        """Pull an image, also when it is there; gives it as the daemon tells it.

        Args:
            image: reference.
            platform: ``linux/arm64``; the host's where it is left out.
            on_event: called with each event of its progress.

        Raises:
            NotFound, Unauthorized, Unreachable, Corrupt: it cannot be had.
        """
        heard = Lines(on_event)
        with closing(self._link.lines(routes.pull(image, platform))) as lines:
            for line in lines:
                heard.take(line)
        return heard.result()

    def list(self) -> tuple[Table, ...]:
        """Every image, the latest first."""
        return self._link.call(routes.images())

    def inspect(self, image: str) -> Table:
        """One, with its layers and its configuration.

        Raises:
            NotFound: it is not there.
        """
        return self._link.call(routes.image(image))

    def remove(self, image: str, *, force: bool = False) -> Table:
        """Remove one; tells which names and images went.

        Raises:
            NotFound: it is not there. Conflict: a sandbox uses it.
        """
        return self._link.call(routes.remove_image(image, force=force))
