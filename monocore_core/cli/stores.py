"""Images and volumes where they are kept: in the store of this host, or with a daemon elsewhere. The same plain data from both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import api_of, remote_of
from monocore_core.client.api import Api, target
from monocore_core.client.tables import Table, tables, texts
from monocore_core.model.oci import Platform


class Images(Protocol):
    """The images of one store. Tables are those of :mod:`monocore_core.inventory`."""

    def all(self) -> list[Table]:
        """A summary of each, the latest first."""
        ...

    def details(self, name: str, platform: Platform | None) -> Table:
        """Everything known of one; ``platform``: None is that of the store's host.

        Raises:
            NotFound: there is none.
        """
        ...

    def remove(self, name: str, *, force: bool) -> Table:
        """Take a name away, and with its last name an image: ``untagged``, ``deleted``, ``reclaimed`` (bytes).

        Raises:
            NotFound, Conflict: there is none, or it is in use.
        """
        ...

    def prune(self, *, everything: bool) -> Table:
        """Remove what nothing needs; gives what :meth:`remove` gives."""
        ...


class Volumes(Protocol):
    """The named volumes of one store, likewise."""

    def all(self) -> list[Table]:
        """Every one."""
        ...

    def create(self, name: str) -> Table:
        """Make one; one that exists is left as it is."""
        ...

    def details(self, name: str) -> Table:
        """Everything known of one.

        Raises:
            NotFound: there is none.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove one with everything in it.

        Raises:
            NotFound, Conflict: there is none, or it is in use.
        """
        ...

    def prune(self) -> list[str]:
        """Remove those that no sandbox uses; gives their names."""
        ...


def with_images(options: Globals, work: Callable[[Images], int]) -> int:
    """Do something with the images that the flags mean; merged roots that no image needs afterwards are removed."""
    remote = remote_of(options)
    if remote is not None:
        return work(_ImagesThere(api_of(remote)))
    from monocore_core.cli.stores_here import with_images_here  # 200 ms that a daemon elsewhere does not need

    return with_images_here(options, work)


def with_volumes(options: Globals, work: Callable[[Volumes], int]) -> int:
    """Do something with the named volumes that the flags mean."""
    remote = remote_of(options)
    if remote is not None:
        return work(_VolumesThere(api_of(remote)))
    from monocore_core.cli.stores_here import with_volumes_here  # likewise

    return with_volumes_here(options, work)


@frozen
class _ImagesThere:
    api: Api

    def all(self) -> list[Table]:
        return tables(self.api.call("GET", target("images")), "images")

    def details(self, name: str, platform: Platform | None) -> Table:
        where = target("images", *name.split("/"), platform=None if platform is None else str(platform))
        return self.api.call("GET", where)

    def remove(self, name: str, *, force: bool) -> Table:
        return self.api.call("DELETE", target("images", *name.split("/"), force=force), timeout=None)

    def prune(self, *, everything: bool) -> Table:
        return self.api.call("POST", target("images", "prune"), {"all": everything}, timeout=None)


@frozen
class _VolumesThere:
    api: Api

    def all(self) -> list[Table]:
        return tables(self.api.call("GET", target("volumes")), "volumes")

    def create(self, name: str) -> Table:
        return self.api.call("POST", target("volumes"), {"name": name})

    def details(self, name: str) -> Table:
        return self.api.call("GET", target("volumes", name))

    def remove(self, name: str) -> None:
        self.api.call("DELETE", target("volumes", name), timeout=None)

    def prune(self) -> list[str]:
        return texts(self.api.call("POST", target("volumes", "prune"), {}, timeout=None), "removed")
