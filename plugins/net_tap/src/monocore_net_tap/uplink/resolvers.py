"""The host's ``resolv.conf`` where who is in a jail reads it: a copy that is written in place, since a file that is shown stays the one that it was."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

_HOST = Path("/etc/resolv.conf")
_COPY = "resolv.conf"
#: Seconds between looks at the host's, which programs replace when the host changes networks.
_EVERY = 5.0
_MAX_SIZE = 64 * 1024


class ResolverFile:
    """A copy that follows the host's.

    Args:
        folder: for it.
        host: the file that is followed.
    """

    def __init__(self, folder: Path, host: Path = _HOST) -> None:
        self.path = folder / _COPY
        self._host = host
        self._seen: tuple[int, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self.refresh()

    def refresh(self) -> None:
        """Write the copy anew when the host's is another one. A host without one has an empty one."""
        seen: tuple[int, ...] = (0,)
        try:
            found = self._host.stat()
            seen = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            with self._host.open("rb") as file:
                text = file.read(_MAX_SIZE)
        except OSError:
            text = b""
            if seen == self._seen:
                return
        with suppress(OSError):  # a full disk: the old one stays, and the next look tries again
            copy = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.fchmod(copy, 0o644)  # whoever reads it may be another user
                os.ftruncate(copy, 0)
                os.write(copy, text)
            finally:
                os.close(copy)
            self._seen = seen

    def watch(self) -> None:
        """Follow the host's from now on, in the running loop."""
        self.refresh()
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self.watch)

    def close(self) -> None:
        """Follow it no more."""
        if self._timer is not None:
            self._timer.cancel()
        self.path.unlink(missing_ok=True)
