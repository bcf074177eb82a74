"""The records of the sandboxes that the daemon keeps, in the state database. One process writes them: the one that holds the home's daemon lock."""

from __future__ import annotations

import json
import re

from attrs import frozen

from monocore_core.errors import Conflict, Corrupt, InvalidInput, MonocoreError, NotFound
from monocore_core.model.record import SandboxRecord
from monocore_core.serde import structure, unstructure
from monocore_core.store.database import Database

_ID_PREFIX = re.compile(r"[0-9a-f]{1,12}\Z")


@frozen
class Records:
    """The sandboxes of one home directory."""

    database: Database

    def add(self, record: SandboxRecord) -> None:
        """Write down a new sandbox.

        Raises:
            Conflict: another one has its name.
        """
        with self.database.transaction() as connection:
            taken = connection.execute("SELECT id FROM records WHERE name = ?", (record.name,)).fetchone()
            if taken is not None:
                raise Conflict(
                    f"the name {record.name!r} is in use by sandbox {taken[0]}",
                    hint=f"choose another name, or remove that one: monocore rm {record.name}",
                )
            connection.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?)",
                (record.id, record.name, record.created, _encode(record)),
            )

    def save(self, *records: SandboxRecord) -> None:
        """Write down what has changed of one, or of several, together; one that was removed stays removed."""
        with self.database.transaction() as connection:
            for record in records:
                connection.execute("UPDATE records SET body = ? WHERE id = ?", (_encode(record), record.id))

    def remove(self, identity: str) -> None:
        """Forget one. An unknown id is not an error."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM records WHERE id = ?", (identity,))

    def ids(self) -> frozenset[str]:
        """Of every record, those that cannot be read among them."""
        return frozenset(str(identity) for (identity,) in self.database.query("SELECT id FROM records"))

    def all(self) -> tuple[list[SandboxRecord], list[str]]:
        """Every record, the oldest first, and the ids of those that cannot be read (a later version's, or damaged)."""
        found: list[SandboxRecord] = []
        unreadable: list[str] = []
        for identity, body in self.database.query("SELECT id, body FROM records ORDER BY created, id"):
            try:
                found.append(_decode(str(identity), str(body)))
            except MonocoreError:
                unreadable.append(str(identity))
        return found, unreadable


def match(records: dict[str, SandboxRecord], text: str) -> SandboxRecord:
    """The sandbox that a person means: by its name, its id, or the beginning of its id.

    Raises:
        NotFound: there is none.
        InvalidInput: it is the beginning of several ids.
    """
    for record in records.values():
        if text in (record.name, record.id):
            return record
    found = [key for key in records if _ID_PREFIX.match(text) and key.startswith(text)]
    if len(found) > 1:
        raise InvalidInput(f"{text!r} is the beginning of {len(found)} ids", hint="give more digits")
    if not found:
        raise NotFound(f"no such sandbox: {text[:80]}", hint="monocore ps -a lists them")
    return records[found[0]]


def _encode(record: SandboxRecord) -> str:
    return json.dumps(unstructure(record), separators=(",", ":"))


def _decode(identity: str, body: str) -> SandboxRecord:
    try:
        table: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"the record of sandbox {identity} is damaged") from error
    if not isinstance(table, dict):
        raise Corrupt(f"the record of sandbox {identity} is damaged")
    return structure({str(key): value for key, value in table.items()}, SandboxRecord, f"sandbox {identity}")  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
