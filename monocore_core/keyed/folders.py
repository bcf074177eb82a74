"""The folders of one state folder, by key.

Layout::

    <key>/        complete
    .work/<key>   what is being made or removed, only by the holder of the key's lock
    .locks/<key>  the key's lock
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from attrs import field, frozen

from monocore_core.errors import InvalidInput
from monocore_core.keyed.disk import make_private, storage_errors, sync_folder
from monocore_core.keyed.erase import erase
from monocore_core.keyed.locks import locked, take

T = TypeVar("T")
#: Called now and then by long work; raises when it is to stop.
Check = Callable[[], None]

_KEY = re.compile(r"[a-z0-9-]{1,128}\Z")


class _StoppedError(Exception):
    """The caller was cancelled; the thread ends."""


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - symlinks stay as they are


def _nothing(folder: Path) -> None:
    del folder


@frozen
class KeyedFolders:
    """Folders under ``state``; any number of objects and processes may share one.

    Attributes:
        state: where they are; made 0700.
        letting_go: called with a complete folder before it is taken away, under its lock; what it raises stops that.
    """

    state: Path = field(converter=_absolute)
    letting_go: Callable[[Path], None] = _nothing

    @property
    def work(self) -> Path:
        """Of what is being made or removed."""
        return self.state / ".work"

    def lock(self, key: str) -> Path:
        """The file of a key's lock."""
        return self.state / ".locks" / key

    def folder(self, key: str) -> Path:
        """Where a key's folder is, or would be.

        Raises:
            InvalidInput: it is not a key.
        """
        if not _KEY.match(key):
            raise InvalidInput(f"{key[:140]!r} is not a key of a root")
        return self.state / key

    def prepare(self) -> None:
        """Make the folders, and remove what a crash left behind. Blocking.

        Raises:
            StorageError: the host's disk refused.
        """
        with storage_errors(self.state):
            for folder in (self.state, self.work, self.lock("")):
                make_private(folder)
            for left in list(self.work.iterdir()):
                lock = take(self.lock(left.name))
                if lock is not None:
                    try:
                        with suppress(OSError):
                            erase(left)
                    finally:
                        os.close(lock)

    def __iter__(self) -> Iterator[str]:
        """Keys that have a folder, complete or damaged."""
        for entry in self.state.iterdir():
            if _KEY.match(entry.name):
                yield entry.name

    async def find(self, key: str, find: Callable[[Path], T | None]) -> T | None:
        """What ``find`` says of a key's folder, in a thread."""
        return await asyncio.to_thread(find, self.folder(key))

    async def ensure(
        self, key: str, find: Callable[[Path], T | None], build: Callable[[Path, Path, Check], T]
    ) -> T:
        """What is under ``key``, made when ``find`` does not know it. Two at once: one makes it.

        Args:
            key: of the folder.
            find: what is complete there, or None; in a thread, perhaps before anything exists.
            build: fills its first argument, an empty folder that will be renamed to the second, and syncs what is in it; in
                a thread. It calls its third now and then, to be stopped when we are cancelled: then nothing remains.

        Raises:
            StorageError: the host's disk refused; nothing remains.
        """
        folder = self.folder(key)
        found = await asyncio.to_thread(find, folder)
        if found is not None:
            return found
        with storage_errors(self.state):
            async with locked(self.lock(key)):
                found = await asyncio.to_thread(find, folder)
                if found is not None:
                    return found
                return await self.make(key, build)

    async def make(self, key: str, build: Callable[[Path, Path, Check], T]) -> T:
        """As :meth:`ensure`, anew, by the holder of the key's lock."""
        return await in_thread(lambda check: self._make(key, build, check))

    async def remove(self, key: str) -> None:
        """Take a folder away. An unknown key is not an error.

        Raises:
            StorageError: the host's disk refused.
        """
        folder = self.folder(key)
        with storage_errors(folder):
            if not folder.exists() and not (self.work / key).exists():
                return
            async with locked(self.lock(key)):
                await in_thread(lambda _: self.discard(key))
                self.lock(key).unlink(missing_ok=True)

    def discard(self, key: str) -> None:
        """As :meth:`remove`, by the holder of the key's lock. Blocking."""
        work, final = self.work / key, self.folder(key)
        erase(work)
        if final.exists():
            self.letting_go(final)
            final.rename(work)
            erase(work)

    def _make(self, key: str, build: Callable[[Path, Path, Check], T], check: Check) -> T:
        """Build in the key's work folder and rename. The lock is held."""
        work, final = self.work / key, self.folder(key)
        self.discard(key)
        work.mkdir(mode=0o700)
        try:
            made = build(work, final, check)
            check()
            work.rename(final)
        except BaseException:
            with suppress(OSError):
                erase(work)
            raise
        sync_folder(self.state)
        return made


async def in_thread(work: Callable[[Check], T]) -> T:
    """Run blocking ``work`` in a thread; on cancellation make it stop by its :data:`Check`, and wait for that."""
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
