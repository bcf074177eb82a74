"""What net_tap has made, in a database of its own: written before anything is made, forgotten after all of it is gone.

Only the keeper writes. Others read, so that a listing needs no keeper.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import cast

from monocore_core.errors import Corrupt, MonocoreError, StorageError
from monocore_core.hostports import same_port
from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.serde import structure, unstructure
from monocore_core.sqlitefile import open_sqlite
from monocore_net_tap.holder import Holder
from monocore_net_tap.members import Member, Relay

FILE = "members.db"
_BUSY = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
    key TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, grouping INTEGER NOT NULL, mac TEXT NOT NULL,
    address4 TEXT NOT NULL UNIQUE, address6 TEXT NOT NULL UNIQUE, request TEXT NOT NULL, relays TEXT NOT NULL
) WITHOUT ROWID;
"""


class Records:
    """The database in a folder of ours; a context manager that closes it."""

    def __init__(self, folder: Path) -> None:
        """Open it, made when it is not there.

        Raises:
            StorageError: the disk refuses.
        """
        path = folder / FILE
        with _errors(path):
            self._base = open_sqlite(path, _BUSY)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(_SCHEMA)
        self._path = path

    def close(self) -> None:
        """Close it."""
        self._base.close()

    def members(self) -> list[Member]:
        """Every recorded member.

        Raises:
            Corrupt: a record makes no sense.
        """
        with _errors(self._path):
            rows = self._base.execute("SELECT * FROM members ORDER BY number").fetchall()
        return [_member(row) for row in rows]

    def add(self, member: Member) -> None:
        """Record a member."""
        row = (
            member.key, member.number, member.group, member.mac, str(member.address4), str(member.address6),
            json.dumps(unstructure(member.request)),
            json.dumps([unstructure(each) for each in member.relays]),
        )  # fmt: skip
        with _errors(self._path):
            self._base.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def remove(self, key: str) -> None:
        """Forget a member."""
        with _errors(self._path):
            self._base.execute("DELETE FROM members WHERE key = ?", (key,))

    def group(self, name: str) -> int:
        """The number of a group; 0 for ``""``, a new one for a new group."""
        if not name:
            return 0
        with _errors(self._path):
            self._base.execute(
                "INSERT OR IGNORE INTO groups SELECT ?, COALESCE(MAX(number), 0) + 1 FROM groups", (name,)
            )
            found = self._base.execute("SELECT number FROM groups WHERE name = ?", (name,)).fetchone()
        return int(found[0])

    def forget_groups(self, used: frozenset[int]) -> None:
        """Forget groups that have no members."""
        with _errors(self._path):
            for name, number in self._base.execute("SELECT name, number FROM groups").fetchall():
                if number not in used:
                    self._base.execute("DELETE FROM groups WHERE name = ?", (name,))

    def pool(self) -> IPv4Network | None:
        """The pool in use."""
        found = self._fact("pool")
        return IPv4Network(found) if found else None

    def set_pool(self, pool: IPv4Network) -> None:
        """Keep the pool."""
        self._set_fact("pool", str(pool))

    def holder(self) -> Holder | None:
        """The process that holds the namespaces, which may be gone."""
        found = self._fact("holder")
        return (
            structure(cast("dict[str, object]", json.loads(found)), Holder, "the holder") if found else None
        )

    def set_holder(self, holder: Holder | None) -> None:
        """Keep who it is."""
        self._set_fact("holder", json.dumps(unstructure(holder)) if holder else "")

    def _fact(self, name: str) -> str:
        with _errors(self._path):
            found = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def _set_fact(self, name: str, value: str) -> None:
        with _errors(self._path):
            self._base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def keys(folder: Path) -> frozenset[str]:
    """Keys of the recorded members, for who is not the keeper."""
    return frozenset(_keys(folder, "SELECT key FROM members"))


def has(folder: Path, key: str) -> bool:
    """Whether a member is recorded, for who is not the keeper."""
    return bool(_keys(folder, "SELECT key FROM members WHERE key = ?", key))


def _keys(folder: Path, question: str, *values: str) -> list[str]:
    path = folder / FILE
    if not path.exists():
        return []
    with _errors(path), closing(sqlite3.connect(path, timeout=_BUSY)) as base:
        try:
            return [str(row[0]) for row in base.execute(question, values)]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # made, and not yet filled
                return []
            raise


def publisher(folder: Path, publish: Publish) -> str | None:
    """The sandbox that publishes a port of the host already, for who is not the keeper."""
    if not (folder / FILE).exists() or not publish.host:
        return None
    with _errors(folder / FILE), closing(sqlite3.connect(folder / FILE, timeout=_BUSY)) as base:
        rows = base.execute("SELECT key, relays FROM members WHERE relays != '[]'").fetchall()
    for key, relays in rows:
        for each in cast("list[dict[str, dict[str, object]]]", json.loads(str(relays))):
            other = structure(each["publish"], Publish, f"member {key}")
            if same_port(publish, other):
                return str(key)
    return None


def _member(row: tuple[object, ...]) -> Member:
    key, number, group, mac, four, six, request, relays = row
    try:
        return Member(
            key=str(key),
            number=int(str(number)),
            group=int(str(group)),
            request=structure(
                cast("dict[str, object]", json.loads(str(request))), NetworkRequest, f"member {key}"
            ),
            mac=str(mac),
            address4=IPv4Address(str(four)),
            address6=IPv6Address(str(six)),
            relays=tuple(
                structure(each, Relay, f"member {key}")
                for each in cast("list[dict[str, object]]", json.loads(str(relays)))
            ),
        )
    except (ValueError, MonocoreError) as error:
        raise Corrupt(f"net_tap's record of sandbox {key} makes no sense: {error}") from error


@contextmanager
def _errors(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StorageError(f"net_tap: {path}: {error}") from error
    except OSError as error:
        raise StorageError(f"net_tap: {path}: {error.strerror}") from error
