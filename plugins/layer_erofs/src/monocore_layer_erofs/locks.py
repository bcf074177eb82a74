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
    """Hold the lock at ``path``; the file is made and stays."""
    pause = FIRST_PAUSE
    while (lock := take(path)) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    try:
        yield
    finally:
        os.close(lock)


def take(path: Path) -> int | None:
    """The lock at ``path`` as a descriptor to close, or None while another holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)  # held by another, or removed by its holder meanwhile
    return None
