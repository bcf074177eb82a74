"""The merger: finds, makes and removes roots under ``host.state``.

Layout of the state folder::

    <key>/        a complete root: disk.vmdk, metadata.erofs, perhaps spill.data, root.json
    .work/<key>   what is being made or removed, only by the holder of the key's lock
    .locks/<key>  the key's lock
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from monocore_core.errors import InvalidInput
from monocore_core.interfaces.provider import Host
from monocore_core.model.events import Warned
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DiskRoot
from monocore_layer_erofs import record
from monocore_layer_erofs.disk import storage_errors, sync_folder
from monocore_layer_erofs.locks import locked, take
from monocore_layer_erofs.options import ErofsOptions
from monocore_layer_erofs.record import Record

T = TypeVar("T")

_KEY = re.compile(r"[a-z0-9-]{1,128}\Z")


class _StoppedError(Exception):
    """The caller was cancelled; the thread ends."""


class ErofsMerger:
    """Merges layers into EROFS metadata over their tars; see :class:`monocore_core.interfaces.layer_merger.LayerMerger`."""

    def __init__(self, host: Host, options: ErofsOptions) -> None:
        self._state = Path(os.path.abspath(host.state))  # noqa: PTH100 - symlinks stay as they are
        self._work = self._state / ".work"
        self._locks = self._state / ".locks"
        self._emit = host.emit
        self._options = options

    async def merge(self, key: str, layers: Sequence[Layer]) -> DiskRoot:
        """Make, or find, the root of ``layers``."""
        if found := await self._find(key, layers):
            return found.root()
        with storage_errors(self._state):
            async with locked(self._locks / key):
                if found := await self._find(key, layers):
                    return found.root()
                made = await _in_thread(lambda check: self._make(key, layers, check))
        return made.root()

    async def find(self, key: str) -> DiskRoot | None:
        """What an earlier merge made, or None."""
        found = await self._find(key, None)
        return found.root() if found else None

    async def remove(self, key: str) -> None:
        """Delete the root."""
        folder = self._folder(key)
        with storage_errors(folder):
            if not folder.exists() and not (self._work / key).exists():
                return
            async with locked(self._locks / key):
                await asyncio.to_thread(self._discard, key)
                (self._locks / key).unlink(missing_ok=True)

    async def keys(self) -> frozenset[str]:
        """Every key that has a complete root."""
        return await asyncio.to_thread(self._keys)

    def prepare(self) -> None:
        """Make the folders, and remove what a crash left behind."""
        with storage_errors(self._state):
            for folder in (self._state, self._work, self._locks):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in list(self._work.iterdir()):
                lock = take(self._locks / left.name)
                if lock is not None:
                    shutil.rmtree(left, ignore_errors=True)
                    os.close(lock)

    def _folder(self, key: str) -> Path:
        if not _KEY.match(key):
            raise InvalidInput(f"{key[:140]!r} is not a key of a root")
        return self._state / key

    async def _find(self, key: str, layers: Sequence[Layer] | None) -> Record | None:
        found = await asyncio.to_thread(record.read, self._folder(key))
        if found is None or layers is None:
            return found
        wanted = tuple(str(layer.diff_id) for layer in layers)
        paths = {Path(os.path.abspath(layer.path)) for layer in layers}  # noqa: PTH100, ASYNC240 - pure
        elsewhere = [
            piece.path
            for piece in found.files
            if piece.path not in paths and self._state not in piece.path.parents
        ]
        return None if elsewhere or found.layers != wanted else found

    def _keys(self) -> frozenset[str]:
        names = (folder.name for folder in self._state.iterdir() if _KEY.match(folder.name))
        return frozenset(name for name in names if record.read(self._state / name))

    def _make(self, key: str, layers: Sequence[Layer], check: Callable[[], None]) -> Record:
        """Build in the key's work folder and rename. The lock is held."""
        from monocore_layer_erofs.build import Job, build  # noqa: PLC0415 - finding a root does not need it

        work, final = self._work / key, self._folder(key)
        self._discard(key)
        work.mkdir(mode=0o700)
        try:
            made = build(Job(layers, work, final, self._options, self._warn, check))
            check()
            work.rename(final)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        sync_folder(self._state)
        return made

    def _discard(self, key: str) -> None:
        """Take the root away at once, then delete it. The lock is held."""
        work, final = self._work / key, self._folder(key)
        if work.exists():
            shutil.rmtree(work)
        if final.exists():
            final.rename(work)
            shutil.rmtree(work)

    def _warn(self, text: str) -> None:
        self._emit(Warned(text))


async def _in_thread(work: Callable[[Callable[[], None]], T]) -> T:
    """Run blocking ``work`` in a thread; on cancellation make it stop, and wait for that."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _StoppedError

    task = asyncio.ensure_future(asyncio.to_thread(work, check))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        task.exception()
        raise


@asynccontextmanager
async def create(host: Host, options: ErofsOptions) -> AsyncGenerator[ErofsMerger]:
    """Open the merger."""
    merger = ErofsMerger(host, options)
    await asyncio.to_thread(merger.prepare)
    yield merger
