"""The merger: finds, makes and removes roots under ``host.state``, each a folder of its key.

A complete root holds disk.vmdk, metadata.erofs, perhaps spill.data, and root.json.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from monocore_core.interfaces.provider import Host
from monocore_core.keyed import Check, KeyedFolders
from monocore_core.model.events import Warned
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DiskRoot
from monocore_layer_erofs import record
from monocore_layer_erofs.options import ErofsOptions
from monocore_layer_erofs.record import Record


class ErofsMerger:
    """Merges layers into EROFS metadata over their tars; see :class:`monocore_core.interfaces.layer_merger.LayerMerger`."""

    def __init__(self, host: Host, options: ErofsOptions) -> None:
        self._folders = KeyedFolders(host.state)
        self._emit = host.emit
        self._options = options

    async def merge(self, key: str, layers: Sequence[Layer]) -> DiskRoot:
        """Make, or find, the root of ``layers``."""

        def find(folder: Path) -> Record | None:
            return self._made_of(record.read(folder), layers)

        def build(work: Path, final: Path, check: Check) -> Record:
            from monocore_layer_erofs.build import Job, build  # noqa: PLC0415 - finding a root does not need it

            return build(Job(layers, work, final, self._options, self._warn, check))

        return (await self._folders.ensure(key, find, build)).root()

    async def find(self, key: str) -> DiskRoot | None:
        """What an earlier merge made, or None."""
        found = await self._folders.find(key, record.read)
        return found.root() if found else None

    async def remove(self, key: str) -> None:
        """Delete the root."""
        await self._folders.remove(key)

    async def keys(self) -> frozenset[str]:
        """Every key that has a complete root."""
        return await asyncio.to_thread(self._keys)

    def prepare(self) -> None:
        """Make the folders, and remove what a crash left behind."""
        self._folders.prepare()

    def _keys(self) -> frozenset[str]:
        return frozenset(key for key in self._folders if record.read(self._folders.folder(key)))

    def _made_of(self, found: Record | None, layers: Sequence[Layer]) -> Record | None:
        """The record when it is of these layers, where they are now."""
        if found is None:
            return None
        wanted = tuple(str(layer.diff_id) for layer in layers)
        paths = {Path(os.path.abspath(layer.path)) for layer in layers}  # noqa: PTH100 - symlinks stay as they are
        elsewhere = [
            piece.path
            for piece in found.files
            if piece.path not in paths and self._folders.state not in piece.path.parents
        ]
        return None if elsewhere or found.layers != wanted else found

    def _warn(self, text: str) -> None:
        self._emit(Warned(text))


@asynccontextmanager
async def create(host: Host, options: ErofsOptions) -> AsyncGenerator[ErofsMerger]:
    """Open the merger."""
    merger = ErofsMerger(host, options)
    await asyncio.to_thread(merger.prepare)
    yield merger
