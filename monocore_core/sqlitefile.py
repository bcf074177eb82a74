"""A file of SQLite's, for its owner alone, which nobody opens but SQLite.

SQLite holds its locks with ``fcntl``, and a process that closes any descriptor of a file loses all such locks that it has on it
(https://www.sqlite.org/howtocorrupt.html, 2.2): the next process to close the database then takes itself for the last one, and removes the log
that the first still writes to. So a file that is there is not opened to see whether it is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

_MAKING = threading.Lock()


def open_sqlite(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection that any thread may use, in charge of its own transactions. The file is made when it is not there.

    Args:
        path: of the file.
        timeout: seconds to wait for another connection's transaction.

    Raises:
        OSError: it could not be made.
        sqlite3.Error: it could not be opened.
    """
    with _MAKING:  # no other thread has opened it before it is closed here
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
