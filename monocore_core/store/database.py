"""The state database: SQLite in WAL mode, short transactions, a versioned schema.

Nothing here is worth more than a pull, so commits do not wait for the disk (``synchronous=NORMAL``: a power loss may
forget the last transactions, never damage the database) except where :meth:`Database.transaction` is asked for ``durable``.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from monocore_core.errors import Corrupt, StorageError, Unsupported
from monocore_core.sqlitefile import open_sqlite
from monocore_core.store.atomic import storage_errors
from monocore_core.store.locks import Locks

#: Seconds that a transaction waits for another process's.
BUSY_TIMEOUT = 20.0

#: One script a version; a database of version n has seen the first n.
MIGRATIONS = (
    """
    CREATE TABLE documents (digest TEXT PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE images (
        digest TEXT PRIMARY KEY, config TEXT NOT NULL, root TEXT NOT NULL, platform TEXT NOT NULL, pulled REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE image_layers (
        image TEXT NOT NULL REFERENCES images ON DELETE CASCADE, position INTEGER NOT NULL, diff_id TEXT NOT NULL,
        PRIMARY KEY (image, position)
    ) WITHOUT ROWID;
    CREATE INDEX image_layers_by_layer ON image_layers (diff_id);
    CREATE TABLE names (
        reference TEXT NOT NULL, platform TEXT NOT NULL, image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
        PRIMARY KEY (reference, platform)
    ) WITHOUT ROWID;
    CREATE INDEX names_by_image ON names (image);
    CREATE TABLE leases (
        key TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL, root TEXT NOT NULL,
        created REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE lease_layers (
        lease TEXT NOT NULL REFERENCES leases ON DELETE CASCADE, diff_id TEXT NOT NULL,
        PRIMARY KEY (lease, diff_id)
    ) WITHOUT ROWID;
    CREATE INDEX lease_layers_by_layer ON lease_layers (diff_id);
    CREATE TABLE sandboxes (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE volumes (name TEXT PRIMARY KEY, created REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE volume_uses (
        volume TEXT NOT NULL REFERENCES volumes, sandbox TEXT NOT NULL REFERENCES sandboxes ON DELETE CASCADE,
        PRIMARY KEY (volume, sandbox)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE records (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created REAL NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE projects (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE restarts (
        sandbox TEXT PRIMARY KEY, total INTEGER NOT NULL, in_row INTEGER NOT NULL, counted INTEGER NOT NULL,
        settled INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash BLOB NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)

Row = tuple[object, ...]


class Database:
    """A connection that any thread may use, one transaction at a time."""

    def __init__(self, path: Path, locks: Locks) -> None:
        """Open, and create or migrate when needed (under a lock).

        Raises:
            StorageError: the disk refuses.
            Corrupt: the file is not a database.
            Unsupported: a later monocore has changed it.
        """
        self.path = path
        self._lock = threading.RLock()
        with storage_errors(f"open {path}"), self._errors():
            self._connection = open_sqlite(path, BUSY_TIMEOUT)
        try:
            self._prepare(locks)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection. A repeat does nothing."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Generator[sqlite3.Connection]:
        """A writing transaction: everything in the block is committed, or nothing when it raises.

        Args:
            durable: a power loss after it must not undo it.
        """
        with self._lock, self._errors():
            connection = self._connection
            if durable:
                connection.execute("PRAGMA synchronous=FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def snapshot(self) -> Generator[sqlite3.Connection]:
        """A reading transaction: every query in the block sees the same state."""
        with self._lock, self._errors():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def query(self, sql: str, *parameters: object) -> list[Row]:
        """All rows of one question."""
        with self._lock, self._errors():
            return self._connection.execute(sql, parameters).fetchall()

    def _prepare(self, locks: Locks) -> None:
        with self._errors():
            if self._version() != len(MIGRATIONS):
                with locks.hold_blocking("database", BUSY_TIMEOUT):
                    self._migrate()
            self._connection.execute("PRAGMA foreign_keys=ON")
            self._connection.execute("PRAGMA synchronous=NORMAL")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        version = self._version()
        if version > len(MIGRATIONS):
            raise Unsupported(
                f"{self.path} was written by a later version of monocore (schema {version}, known: {len(MIGRATIONS)})",
                hint="upgrade monocore, or use another folder with --home",
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            statements = script.split(";")
            with self.transaction(durable=True) as connection:
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            full = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
            hint = (
                "free space on that file system"
                if full
                else "is another process holding it, or the disk failing?"
            )
            raise StorageError(
                f"the state database {self.path} cannot be used: {error}", hint=hint
            ) from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(
                f"the state database {self.path} is damaged: {error}",
                hint="move it away: images are then pulled again",
            ) from error
