"""The merger of shared folders: one for each key, which nobody writes into. Guests put an overlay on top.

A complete key's folder holds ``root``, the tree, and root.json. The state folder is 0700: what the image gives to whom, and with
which privileges, stays out of other users' reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from monocore_core.interfaces.provider import Host
from monocore_core.keyed import Check, KeyedFolders
from monocore_core.model.events import Listener, Warned
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot
from monocore_layer_copy import base
from monocore_layer_copy.base import Base
from monocore_layer_copy.options import CopyOptions


class CopyMerger:
    """Applies layers into folders; see :class:`monocore_core.interfaces.layer_merger.LayerMerger`."""

    def __init__(self, host: Host, options: CopyOptions) -> None:
        self._folders = KeyedFolders(host.state)
        self._emit = host.emit
        self._options = options

    async def merge(self, key: str, layers: Sequence[Layer]) -> DirectoryRoot:
        """Make, or find, the root of ``layers``."""
        made = await ensure_base(self._folders, key, layers, self._options.max_entries, emit=self._emit)
        return made.root(writable=False)

    async def find(self, key: str) -> DirectoryRoot | None:
        """What an earlier merge made, or None."""
        found = await self._folders.find(key, base.read)
        return found.root(writable=False) if found else None

    async def remove(self, key: str) -> None:
        """Delete the root."""
        await self._folders.remove(key)

    async def keys(self) -> frozenset[str]:
        """Every key that has a complete root."""
        return await asyncio.to_thread(complete_keys, self._folders)

    def prepare(self) -> None:
        """Make the folders, and remove what a crash left behind."""
        self._folders.prepare()


async def ensure_base(
    folders: KeyedFolders, key: str, layers: Sequence[Layer], max_entries: int, *, emit: Listener
) -> Base:
    """The folder of ``layers`` under ``key``, made when it is not there; tells what could not be kept."""
    wanted = base.diff_ids(layers)

    def find(folder: Path) -> Base | None:
        found = base.read(folder)
        return found if found is not None and found.layers == wanted else None

    def build(work: Path, final: Path, check: Check) -> Base:
        made, warnings = base.build(layers, (work, final), max_entries, check)
        for sentence in warnings:
            emit(Warned(sentence))
        return made

    return await folders.ensure(key, find, build)


def complete_keys(folders: KeyedFolders) -> frozenset[str]:
    """Keys of complete folders."""
    return frozenset(key for key in folders if base.read(folders.folder(key)) is not None)


@asynccontextmanager
async def create(host: Host, options: CopyOptions) -> AsyncGenerator[CopyMerger]:
    """Open the merger."""
    merger = CopyMerger(host, options)
    await asyncio.to_thread(merger.prepare)
    yield merger
