"""The merger: keeps layers' folders, mounts them, and takes mounts away that nobody has a record of.

The state folder holds::

    <key>/            root, the mount point or a copied tree; names, short names of the layers; root.json
    .layers/<name>/   root, the tree of a layer's own; root.json
    .layers.lock      shared by who is about to use layers, held alone by who removes them

A mount is made when everything else of its key is on the disk. It is in this mount namespace, outlives the process, and goes with
:meth:`OverlayMerger.remove`. After a reboot the next merge mounts again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from monocore_core.foldertree import Keep, Limits, merge_into, tars_of, write_tree
from monocore_core.interfaces.provider import Host
from monocore_core.keyed import (
    Check,
    KeyedFolders,
    in_thread,
    locked,
    read_record,
    shared,
    storage_errors,
    sync_all,
    take,
    write_record,
)
from monocore_core.model.events import Warned
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot
from monocore_layer_overlayfs import record
from monocore_layer_overlayfs.difference import UnfitError
from monocore_layer_overlayfs.mount import Overlay, mount, mounts_below, unmount
from monocore_layer_overlayfs.options import OverlayOptions
from monocore_layer_overlayfs.plan import Planned, plan
from monocore_layer_overlayfs.record import NAMES, TREE, Kind, Record
from monocore_layer_overlayfs.trial import Ability, try_out

LAYER = "layer_overlayfs layer 1"


class _NoMountError(Exception):
    """Mounting turned out not to be possible; a sentence."""


def _let_go(folder: Path) -> None:
    unmount(folder / TREE)


class OverlayMerger:
    """Mounts layers over one another; see :class:`monocore_core.interfaces.layer_merger.LayerMerger`."""

    def __init__(self, host: Host, options: OverlayOptions) -> None:
        self._roots = KeyedFolders(host.state, _let_go)
        self._layers = KeyedFolders(self._roots.state / ".layers")
        self._layers_lock = self._roots.state / ".layers.lock"
        self._emit = host.emit
        self._limits = Limits(options.max_entries)
        self._ability: Ability | str | None = None

    async def merge(self, key: str, layers: Sequence[Layer]) -> DirectoryRoot:
        """Make, or find, the root of ``layers``; mount it again when it is known but not mounted."""
        wanted = record.diff_ids(layers)

        def find(folder: Path) -> Record | None:
            found = record.read(folder)
            return found if found is not None and found.layers == wanted and found.usable() else None

        found = await self._roots.find(key, find)
        if found is not None:
            return found.root()
        with storage_errors(self._roots.state):
            async with locked(self._roots.lock(key)):
                found = await self._roots.find(key, find)
                if found is None:
                    try:
                        async with shared(self._layers_lock):
                            found = await self._make(key, layers)
                    except BaseException:
                        await in_thread(lambda _: self._sweep())
                        raise
                    if found.kind is Kind.COPY:  # after layers were made in vain, perhaps
                        await in_thread(lambda _: self._sweep())
        return found.root()

    async def find(self, key: str) -> DirectoryRoot | None:
        """What an earlier merge made, or None; also when it is not mounted, which takes a merge."""
        found = await self._roots.find(key, record.read)
        usable = found is not None and await asyncio.to_thread(found.usable)
        return found.root() if found is not None and usable else None

    async def remove(self, key: str) -> None:
        """Take the mount away, and the layers that no other root needs."""
        await self._roots.remove(key)
        await in_thread(lambda _: self._sweep())

    async def keys(self) -> frozenset[str]:
        """Every key that has a root, mounted or to be mounted again."""
        return await asyncio.to_thread(self._keys)

    def prepare(self) -> None:
        """Make the folders; remove what a crash left behind: mounts without a record, half-made folders, unused layers."""
        with storage_errors(self._roots.state):
            for target in mounts_below(self._roots.state):
                self._check_mount(target)
        self._roots.prepare()
        self._layers.prepare()
        self._sweep()

    def _keys(self) -> frozenset[str]:
        return frozenset(key for key in self._roots if record.read(self._roots.folder(key)))

    def _check_mount(self, target: Path) -> None:
        """Unmount what no root stands behind."""
        key, *rest = target.relative_to(self._roots.state).parts
        if not key.startswith("."):
            lock = take(self._roots.lock(key))
            if lock is None:  # somebody is at it
                return
            try:
                found = record.read(self._roots.folder(key))
                if rest != [TREE] or found is None or found.kind is not Kind.OVERLAY:
                    unmount(target)
            finally:
                os.close(lock)
        elif key == ".work":
            self._check_work(target, rest)

    def _check_work(self, target: Path, rest: Sequence[str]) -> None:
        """A trial mount or one of a root that is being made; its maker holds a lock while it lives."""
        lock = take(self._roots.lock(rest[0] if rest else ""))
        if lock is not None:
            try:
                unmount(target)
            finally:
                os.close(lock)

    async def _make(self, key: str, layers: Sequence[Layer]) -> Record:
        """The root, by mount or copy. The key's lock is held, and the layers' is shared."""
        known = await self._roots.find(key, record.read)
        if (
            known is not None
            and known.layers == record.diff_ids(layers)
            and await in_thread(lambda _: self._mount_again(known))
        ):
            return known
        keep = Keep.here()
        try:
            made = await self._overlay(key, layers, keep)
        except _NoMountError as reason:
            self._emit(Warned(f"layer_overlayfs copies the layers instead of mounting them: {reason}"))
            keep = Keep.here()
            made = await self._copy(key, layers, keep)
        for sentence in keep.warnings():
            self._emit(Warned(sentence))
        return made

    async def _overlay(self, key: str, layers: Sequence[Layer], keep: Keep) -> Record:
        ability = await self._find_ability(key)
        try:
            planned = await in_thread(lambda check: plan(layers, ability, keep, self._limits, check))
        except UnfitError as error:
            raise _NoMountError(str(error)) from error
        for name in planned.stack:
            await self._layers.ensure(name, _layer, self._layer_builder(name, planned, layers, keep))
        wanted = record.diff_ids(layers)

        def build(work: Path, final: Path, check: Check) -> Record:
            del check
            made = Record(
                final / TREE, Kind.OVERLAY, wanted, planned.stack, ability.userxattr, keep.ownership
            )
            (work / TREE).mkdir(mode=0o700)
            (work / NAMES).mkdir(mode=0o700)
            for number, name in enumerate(planned.stack):
                (work / NAMES / str(number)).symlink_to(f"../../.layers/{name}/{TREE}")
            made.write(work)
            return made

        made = await self._roots.make(key, build)
        try:
            await in_thread(lambda _: self._mount(made))
        except OSError as error:
            await in_thread(lambda _: self._roots.discard(key))
            raise _NoMountError(f"the kernel refused the mount: {error.strerror or error}") from error
        except BaseException:
            await in_thread(lambda _: self._roots.discard(key))
            raise
        return made

    async def _find_ability(self, key: str) -> Ability:
        """What works here, tried out once; in the key's work folder, whose lock is held."""
        if self._ability is None:

            def trial() -> Ability | str:
                place = self._roots.work / key
                self._roots.discard(key)
                place.mkdir(mode=0o700)
                try:
                    return try_out(place)
                finally:
                    self._roots.discard(key)

            self._ability = await in_thread(lambda _: trial())
        if isinstance(self._ability, str):
            raise _NoMountError(self._ability)
        return self._ability

    def _layer_builder(
        self, name: str, planned: Planned, layers: Sequence[Layer], keep: Keep
    ) -> Callable[[Path, Path, Check], bool]:
        def build(work: Path, final: Path, check: Check) -> bool:
            del final
            root = planned.folders[name]
            with tars_of(layers, [root], planned.segments, check) as tars:
                write_tree(root, work / TREE, tars, keep, check)
            check()
            sync_all(work)
            write_record(work, {"format": LAYER})
            return True

        return build

    async def _copy(self, key: str, layers: Sequence[Layer], keep: Keep) -> Record:
        def build(work: Path, final: Path, check: Check) -> Record:
            merge_into(work / TREE, layers, keep, self._limits, check)
            check()
            sync_all(work)
            made = Record(final / TREE, Kind.COPY, record.diff_ids(layers), ownership=keep.ownership)
            made.write(work)
            return made

        return await self._roots.make(key, build)

    def _mount(self, made: Record) -> None:
        layers = [self._layers.folder(name) / TREE for name in made.stack]
        mount(Overlay(layers, made.path.with_name(NAMES), made.path, made.userxattr))

    def _mount_again(self, known: Record) -> bool:
        """Mount what a reboot took away; False when layers are gone or the kernel does not want to any more."""
        if known.kind is not Kind.OVERLAY or not all(
            _layer(self._layers.folder(name)) for name in known.stack
        ):
            return False
        try:
            self._mount(known)
        except OSError:
            return False
        return True

    def _sweep(self) -> None:
        """Remove layers that no root names, unless somebody is about to use some."""
        with storage_errors(self._layers.state):
            lock = take(self._layers_lock)
            if lock is None:
                return
            try:
                roots = (record.read(self._roots.folder(key)) for key in self._roots)
                used = {name for found in roots if found is not None for name in found.stack}
                for name in list(self._layers):
                    if name not in used:
                        self._layers.discard(name)
                        self._layers.lock(name).unlink(missing_ok=True)
            finally:
                os.close(lock)


def _layer(folder: Path) -> bool | None:
    """Whether a layer's folder is complete; None when not, as :class:`KeyedFolders` asks."""
    return True if read_record(folder, LAYER) is not None else None


@asynccontextmanager
async def create(host: Host, options: OverlayOptions) -> AsyncGenerator[OverlayMerger]:
    """Open the merger."""
    merger = OverlayMerger(host, options)
    await asyncio.to_thread(merger.prepare)
    yield merger
