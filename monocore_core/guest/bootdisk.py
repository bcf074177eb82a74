"""The disk that the kernel boots from: the agent as ``/init``, empty folders to mount on, and files of ``/etc`` for rehearsals to write over."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Final

from monocore_core.erofs import directory, regular, self_contained
from monocore_core.guest.binary import agent_binary
from monocore_core.keyed import storage_errors
from monocore_core.native import Seen

_FOLDERS: Final = (b"dev", b"proc", b"run", b"sys")
_ETC: Final = {
    b"passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    b"group": b"root:x:0:\n",
    b"hostname": b"rehearsal\n",
    b"hosts": b"127.0.0.1\tlocalhost\n",
}


def boot_disk(architecture: str, cache: Path) -> Path:
    """A raw EROFS image, made once for each agent.

    Args:
        architecture: the guest's, in Go's words.
        cache: folder for what is built here; safe to share and to delete.

    Raises:
        Unsupported: there is no agent for this architecture, and no compiler.
        GuestError: the compiler refused.
        StorageError: the disk refused.
    """
    with storage_errors(cache):
        return _disk(architecture, cache)


def _disk(architecture: str, cache: Path) -> Path:
    agent = agent_binary(architecture, cache)
    disk = cache / f"boot-{architecture}-{_digest(Seen.of(agent))}.erofs"
    if disk.exists():
        return disk
    root = {
        b"init": regular(agent.read_bytes(), mode=0o755),
        b"etc": directory({name: regular(text) for name, text in _ETC.items()}),
        **{name: directory() for name in _FOLDERS},
    }
    image = self_contained(directory(root), name=b"monocore-boot")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".boot-", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(disk)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return disk


@lru_cache(maxsize=16)
def _digest(agent: Seen) -> str:
    return hashlib.sha256(agent.path.read_bytes() + b"".join(_ETC.values())).hexdigest()[:16]
