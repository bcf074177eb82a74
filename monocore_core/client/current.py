"""Which context is used where nothing else is said. Light: every command asks."""

from __future__ import annotations

import os
from collections.abc import Mapping

#: The daemon of this host, which is no context that could be made or removed.
DEFAULT = "default"
#: The file with the name of the current one.
CURRENT = "current-context"


def config_folder(environ: Mapping[str, str]) -> str:
    """Where this user's configuration is."""
    base = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME') or os.path.expanduser('~')}/.config"
    return f"{base}/monocore"


def read_current(folder: str) -> str:
    """The name in the file of the current one; ``default`` where there is none. Costs next to nothing: every command asks."""
    try:
        fd = os.open(f"{folder}/{CURRENT}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return DEFAULT
    try:
        return os.read(fd, 256).decode("utf-8", "replace").strip() or DEFAULT
    finally:
        os.close(fd)
