"""Locks between processes (and between tasks of one process): flock on a file named by a hash of what is locked.

The kernel releases a lock when its holder dies, however it dies. A holder deletes the file before it lets go, so that lock
files do not pile up; whoever got the lock of a deleted file therefore tries again (compare the inodes).
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from attrs import frozen

from monocore_core.errors import DeadlineExceeded
from monocore_core.model.events import Listener, Waiting, ignore
from monocore_core.store.atomic import storage_errors

#: Between two attempts, seconds. A thread that blocks in flock could not be cancelled, so an attempt never blocks.
_FIRST_PAUSE, _LAST_PAUSE = 0.002, 0.1


@frozen
class Locks:
    """The locks of one home directory."""

    directory: Path

    @asynccontextmanager
    async def hold(
        self, name: str, *, patience: float, what: str = "", listener: Listener = ignore
    ) -> AsyncGenerator[None]:
        """Hold the lock ``name``, waiting up to ``patience`` seconds without blocking the event loop.

        ``listener`` receives one :class:`Waiting` for ``what`` when somebody else has it. Cancellation: not held.

        Raises:
            DeadlineExceeded: it stayed taken.
        """
        deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
        while (fd := self._try(name)) is None:
            if pause == _FIRST_PAUSE:
                listener(Waiting(what or name))
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"another process has worked on {what or name} for more than {patience:.0f} s",
                    hint="find it with: lsof " + str(self._path(name)),
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE)
        try:
            yield
        finally:
            self._release(name, fd)

    @contextmanager
    def hold_now(self, name: str) -> Generator[bool]:
        """Hold the lock ``name`` if it is free; gives whether it is held."""
        fd = self._try(name)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                self._release(name, fd)

    @contextmanager
    def hold_blocking(self, name: str, patience: float) -> Generator[None]:
        """Hold the lock ``name``, blocking this thread. Only for what takes milliseconds."""
        deadline = time.monotonic() + patience
        while (fd := self._try(name)) is None:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(f"another process has held the lock {name!r} for {patience:.0f} s")
            time.sleep(_FIRST_PAUSE)
        try:
            yield
        finally:
            self._release(name, fd)

    def _path(self, name: str) -> Path:
        return self.directory / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _try(self, name: str) -> int | None:
        path = self._path(name)
        with storage_errors(f"lock {name}"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stat().st_ino == os.fstat(fd).st_ino:
                    return fd
            except (BlockingIOError, FileNotFoundError):  # taken; or deleted by the one who just let go
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            return None

    def _release(self, name: str, fd: int) -> None:
        with suppress(FileNotFoundError):
            self._path(name).unlink()
        os.close(fd)
