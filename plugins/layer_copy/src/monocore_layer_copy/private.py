"""The merger of private folders: each key has one, into which its guest writes.

The state folder holds::

    <key>/             root, the tree, and root.json
    .bases/<chain>/    likewise, never written into: what copies of an image are made from

Where the file system can share data (reflinks), a copy costs inodes only; else its data are copied. A copy does not need its base
any more: bases go when nobody has made a copy for a while.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import evolve

from monocore_core.interfaces.provider import Host
from monocore_core.keyed import Check, KeyedFolders, in_thread, shared, storage_errors, take
from monocore_core.keyed.record import NAME
from monocore_core.model.image import Layer, chain_id
from monocore_core.model.rootfs import DirectoryRoot
from monocore_layer_copy import base
from monocore_layer_copy.base import Base
from monocore_layer_copy.merger import complete_keys, ensure_base
from monocore_layer_copy.options import PrivateOptions


class PrivateMerger:
    """Copies an image's folder for each key; see :class:`monocore_core.interfaces.layer_merger.LayerMerger`."""

    def __init__(self, host: Host, options: PrivateOptions) -> None:
        self._copies = KeyedFolders(host.state)
        self._bases = KeyedFolders(host.state / ".bases")
        self._emit = host.emit
        self._options = options

    async def merge(self, key: str, layers: Sequence[Layer]) -> DirectoryRoot:
        """Make, or find, the folder of ``key``. What its guest wrote into it since is not looked at."""
        wanted = base.diff_ids(layers)

        def find(folder: Path) -> Base | None:
            found = base.read(folder)
            return found if found is not None and found.layers == wanted else None

        found = await self._copies.find(key, find)
        if found is None:
            async with self._base(layers) as original:

                def build(work: Path, final: Path, check: Check) -> Base:
                    return _copy(original, work, final, check)

                found = await self._copies.ensure(key, find, build)
        return found.root(writable=True)

    async def find(self, key: str) -> DirectoryRoot | None:
        """What an earlier merge made, or None."""
        found = await self._copies.find(key, base.read)
        return found.root(writable=True) if found else None

    async def remove(self, key: str) -> None:
        """Delete the copy, and the bases that have not been used for long."""
        await self._copies.remove(key)
        await in_thread(lambda _: self._sweep())

    async def keys(self) -> frozenset[str]:
        """Every key that has a complete copy."""
        return await asyncio.to_thread(complete_keys, self._copies)

    def prepare(self) -> None:
        """Make the folders, and remove what a crash left behind."""
        self._copies.prepare()
        self._bases.prepare()
        self._sweep()

    @asynccontextmanager
    async def _base(self, layers: Sequence[Layer]) -> AsyncGenerator[Base]:
        """The image's base; it stays while we are inside."""
        chain = chain_id(tuple(layer.diff_id for layer in layers))
        name = f"{chain.algorithm}-{chain.hex}"
        while True:
            await ensure_base(self._bases, name, layers, self._options.max_entries, emit=self._emit)
            async with shared(self._bases.lock(name)):
                found = await self._bases.find(name, base.read)
                if found is not None:  # else it was swept, between the two
                    with storage_errors(found.path):
                        os.utime(found.path.with_name(NAME))
                    yield found
                    return

    def _sweep(self) -> None:
        """Remove bases that nobody uses, nor has used for as long as the options say."""
        with storage_errors(self._bases.state):
            for name in list(self._bases):
                if not self._due(name):
                    continue
                lock = take(self._bases.lock(name))
                if lock is None:
                    continue
                try:
                    if self._due(name):
                        self._bases.discard(name)
                finally:
                    os.close(lock)

    def _due(self, name: str) -> bool:
        try:
            used = (self._bases.folder(name) / NAME).stat().st_mtime
        except FileNotFoundError:
            return False
        age = time.time() - used
        return age >= self._options.keep_bases or age < -60  # from the future: the clock was set back since


def _copy(original: Base, work: Path, final: Path, check: Check) -> Base:
    from monocore_layer_copy.clone import clone_folder  # noqa: PLC0415 - finding a copy does not need it

    with storage_errors(work):
        clone_folder(original.path, work / base.TREE, original.ownership, check)
        check()
        made = evolve(original, path=final / base.TREE)
        base.record(made, work)
    return made


@asynccontextmanager
async def create(host: Host, options: PrivateOptions) -> AsyncGenerator[PrivateMerger]:
    """Open the merger."""
    merger = PrivateMerger(host, options)
    await asyncio.to_thread(merger.prepare)
    yield merger
