"""The audit log: a line of JSON for each request that came over the network, and for each of the owner's that changes something.

It holds who, what and how it ended; never a body, a query or a token. ``docs/access.md`` has the fields.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

NAME = "audit.log"
#: Bytes of one file, and older files that are kept.
MAX_SIZE, KEPT = 10 * 1024 * 1024, 5
log = logging.getLogger("monocore.server")


@define(eq=False)
class Audit:
    """The log of a home.

    Attributes:
        path: of the file that is written; ``.1`` to ``.5`` behind it are older ones.
        max_size: bytes after which it is rotated.
    """

    path: Path
    max_size: int = MAX_SIZE
    _fd: int = field(default=-1, init=False)
    _size: int = field(default=0, init=False)

    def write(self, entry: Mapping[str, object]) -> None:
        """Append a line. A disk that refuses is told in the daemon's log, and stops no request."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        try:
            if self._fd >= 0 and self._size + len(line) > self.max_size:
                self._rotate()
            if self._fd < 0:
                self._open()
            self._size += os.write(self._fd, line)
        except OSError as error:
            log.error("the audit log %s cannot be written: %s", self.path, error.strerror)  # noqa: TRY400 - the place is known

    def close(self) -> None:
        """Close the file. A repeat does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(KEPT, 0, -1):
            older = self.path if number == 1 else self.path.with_name(f"{self.path.name}.{number - 1}")
            with contextlib.suppress(FileNotFoundError):
                older.replace(self.path.with_name(f"{self.path.name}.{number}"))
