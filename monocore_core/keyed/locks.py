"""One lock per key, across tasks and processes: ``flock`` on a file, tried again with growing pauses.

A blocking ``flock`` would need a thread that cannot be cancelled; the pauses are short against the work that is waited for.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.05


@asynccontextmanager
async def locked(path: Path) -> AsyncGenerator[None]:
    """Hold the lock at ``path`` alone; the file is made and stays."""
    lock = await _wait(path, exclusive=True)
    try:
        yield
    finally:
        os.close(lock)


@asynccontextmanager
async def shared(path: Path) -> AsyncGenerator[None]:
    """Hold the lock at ``path`` together with others that share it."""
    lock = await _wait(path, exclusive=False)
    try:
        yield
    finally:
        os.close(lock)


async def _wait(path: Path, *, exclusive: bool) -> int:
    pause = FIRST_PAUSE
    while (lock := take(path, exclusive=exclusive)) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return lock


def take(path: Path, *, exclusive: bool = True) -> int | None:
    """The lock at ``path`` as a descriptor to close, or None while another holds it otherwise."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)  # held by another, or removed by its holder meanwhile
    return None
