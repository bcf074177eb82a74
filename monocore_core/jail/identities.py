"""User ids for sandboxes, as root: one each, for as long as its process lives.

An id is taken by locking a file of its name (flock(2)). The descriptor goes into the jail, so that the lock is there until the last process that
has it is gone, whether we live or not, and nothing has to be recorded, or cleaned up after a crash.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from monocore_core.errors import LimitExceeded, StorageError
from monocore_core.jail.description import Identity
from monocore_core.keyed.locks import take

#: Where the locks are; gone with the host's boot, as the processes are.
FOLDER = Path("/run/monocore/uids")
#: Above what distributions, systemd-homed and containers give out (systemd.io, "Users, Groups, UIDs and GIDs").
FIRST, COUNT = 0x7A000000, 0x10000
_TRIES = 64


def allocate(folder: Path = FOLDER, *, groups: tuple[int, ...] = ()) -> Identity:
    """An id that no living sandbox of this host has. Its lock is to be closed when the process has it.

    Raises:
        LimitExceeded: none was found.
        StorageError: the folder of locks cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            uid = FIRST + random.randrange(COUNT)  # noqa: S311 - nothing depends on nobody guessing it
            lock = take(folder / str(uid))
            if lock is not None:
                return Identity(uid, uid, lock, groups)
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}") from error
    raise LimitExceeded(f"no user id is free for a sandbox among {COUNT} from {FIRST} on")


def release(identity: Identity | None) -> None:
    """Let go of our hold on an id; the program's own remains."""
    if identity is not None:
        os.close(identity.lock)


def knows_ids(mapping: str, first: int, count: int) -> bool:
    """Whether a user namespace has all ids of a range, by its ``uid_map`` or ``gid_map``: user_namespaces(7). Pure."""
    rows = (line.split() for line in mapping.splitlines())
    return any(
        int(inside) <= first and first + count <= int(inside) + int(length) for inside, _, length in rows
    )
