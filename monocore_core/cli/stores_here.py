"""The images and volumes of this host's store, as :mod:`.stores` has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from attrs import define, field, frozen

from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.stores import Images, Volumes
from monocore_core.client.tables import Table
from monocore_core.errors import Conflict, NotFound
from monocore_core.inventory import image_details, image_summary, volume_details
from monocore_core.model.events import Event, Warned
from monocore_core.model.oci import Platform
from monocore_core.store import Store
from monocore_core.store.gc import Reclaimed
from monocore_core.store.images import Removed
from monocore_core.supply import Supply

#: Seconds that what a sandbox leaves behind its end may take, and between two looks.
_SETTLING, _PAUSE = 1.0, 0.05


def with_images_here(options: Globals, work: Callable[[Images], int]) -> int:
    """As :func:`.stores.with_images`."""

    async def run() -> int:
        async with open_supply(settings_for(options), _tell) as supply:
            images = _Images(supply)
            status = work(images)
            if images.changed:
                await supply.sweep_roots()
            return status

    return asyncio.run(run())


def with_volumes_here(options: Globals, work: Callable[[Volumes], int]) -> int:
    """As :func:`.stores.with_volumes`."""
    with Store.open(settings_for(options).home) as store:
        return work(_Volumes(store))


@define
class _Images:
    """Attributes: changed: whether anything was removed."""

    supply: Supply
    changed: bool = field(default=False, init=False)

    def all(self) -> list[Table]:
        return [image_summary(image) for image in self.supply.store.images()]

    def details(self, name: str, platform: Platform | None) -> Table:
        found = self.supply.store.resolve_image(
            name, platform or Platform.host(), parse=self.supply.reference
        )
        if found is None:
            raise NotFound(f"image {name!r} is not in the store", hint="monocore images lists them")
        return image_details(found)

    def remove(self, name: str, *, force: bool) -> Table:
        self.changed = True
        return _removal(*self.supply.store.remove_image(name, force=force, parse=self.supply.reference))

    def prune(self, *, everything: bool) -> Table:
        self.changed = True
        return _removal(*self.supply.store.prune(all_unused=everything))


@frozen
class _Volumes:
    store: Store

    def all(self) -> list[Table]:
        return [volume_details(volume) for volume in self.store.volumes.all()]

    def create(self, name: str) -> Table:
        return volume_details(self.store.volumes.create(name))

    def details(self, name: str) -> Table:
        return volume_details(self.store.volumes.find(name))

    def remove(self, name: str) -> None:
        deadline = time.monotonic() + _SETTLING
        while True:
            try:
                self.store.volumes.remove(name)
            except Conflict:  # by a sandbox of which the end was told, perhaps, and something is left
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def prune(self) -> list[str]:
        return list(self.store.volumes.prune())


def _removal(removed: Removed, reclaimed: Reclaimed) -> Table:
    return {
        "untagged": list(removed.untagged),
        "deleted": list(map(str, removed.deleted)),
        "reclaimed": reclaimed.bytes,
    }


def _tell(event: Event) -> None:
    if isinstance(event, Warned):
        warn(f"warning: {event.text}")
