"""What has to outlive this process and is not in the sandboxes' records. One process writes it: the one that has the home's sandboxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import cast

from attrs import define, evolve, field, frozen

from monocore_core.errors import Corrupt, MonocoreError, NotFound
from monocore_core.model.record import SettingsSource
from monocore_core.model.service import Project, Service
from monocore_core.orchestrator.restarting import Count
from monocore_core.serde import structure, unstructure
from monocore_core.store.database import Database


class IntentKind(StrEnum):
    """What was begun."""

    UP = "up"
    DOWN = "down"
    RESTART = "restart"


@frozen
class Intent:
    """What was begun, and is not done yet.

    Attributes:
        kind: what.
        services: names of those that it is about, without what they depend on.
        since: when it was begun, seconds since the epoch: what was made, or started, later was so by it.
        recreate: of ``up``: replace also what is unchanged.
        remove_orphans: of ``up``: remove services that the project has no more.
        afresh: of ``up``: services that were down before, and so are to complete once more.
        grace: of ``restart``: seconds until one is ended by force; None: its own.
    """

    kind: IntentKind
    services: tuple[str, ...]
    since: float
    recreate: bool = False
    remove_orphans: bool = False
    afresh: tuple[str, ...] = ()
    grace: float | None = None


@frozen
class Entry:
    """One project.

    Attributes:
        project: as it was last brought up.
        wanted: names of the services that are to run, or to have run.
        orphans: services that it had, has no more, and that run still.
        settings: where its sandboxes' settings come from.
        intent: what is under way.
    """

    project: Project
    wanted: tuple[str, ...] = ()
    orphans: tuple[Service, ...] = ()
    settings: SettingsSource = field(factory=SettingsSource)
    intent: Intent | None = None

    def service(self, name: str) -> Service | None:
        """The service of that name, those that the project has no more included."""
        found = self.project.service(name)
        return found or next((one for one in self.orphans if one.name == name), None)

    def wanting(self, *names: str) -> Entry:
        """With these to run as well."""
        return evolve(self, wanted=tuple(dict.fromkeys((*self.wanted, *names))))

    def not_wanting(self, *names: str) -> Entry:
        """Without these."""
        return evolve(self, wanted=tuple(name for name in self.wanted if name not in names))


@define(eq=False)
class Ledger:
    """Projects and counts of restarts: in memory to look at, in the state database to last."""

    _database: Database
    _entries: dict[str, Entry] = field(factory=dict[str, Entry], init=False)
    _counts: dict[str, Count] = field(factory=dict[str, Count], init=False)

    def read(self) -> tuple[str, ...]:
        """Take up what the database has; gives the names of projects that cannot be read (a later version's, or damaged)."""
        unreadable: list[str] = []
        for name, body in self._database.query("SELECT name, body FROM projects ORDER BY name"):
            try:
                self._entries[str(name)] = _decode(str(name), str(body))
            except MonocoreError:
                unreadable.append(str(name))
        rows = self._database.query("SELECT sandbox, total, in_row, counted, settled FROM restarts")
        for sandbox, *numbers in rows:
            self._counts[str(sandbox)] = Count(*(int(cast("int", number)) for number in numbers))
        return tuple(unreadable)

    def names(self) -> tuple[str, ...]:
        """Of every project."""
        return tuple(sorted(self._entries))

    def find(self, name: str) -> Entry | None:
        """What is known of a project."""
        return self._entries.get(name)

    def get(self, name: str) -> Entry:
        """What is known of a project.

        Raises:
            NotFound: nothing is.
        """
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(self.names()) or "none"
            raise NotFound(f"no such project: {name[:80]!r} (projects: {known})", hint="bring it up first")
        return entry

    def save(self, entry: Entry) -> None:
        """Write down what is to be known of a project."""
        name = entry.project.name
        body = json.dumps(unstructure(entry), separators=(",", ":"))
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO projects VALUES (?, ?)", (name, body))
        self._entries[name] = entry

    def change(self, name: str, how: Callable[[Entry], Entry]) -> Entry:
        """Write down what changes of a project; gives how it is then.

        Raises:
            NotFound: nothing is known of it.
        """
        before = self.get(name)
        after = how(before)
        if after != before:
            self.save(after)
        return after

    def forget(self, name: str) -> None:
        """Nothing is to be known of a project any more. A repeat does nothing."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM projects WHERE name = ?", (name,))
        self._entries.pop(name, None)

    def count(self, sandbox: str) -> Count:
        """Restarts of a sandbox."""
        return self._counts.get(sandbox, Count())

    def save_count(self, sandbox: str, count: Count) -> None:
        """Write them down."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO restarts VALUES (?, ?, ?, ?, ?)",
                (sandbox, count.total, count.row, count.counted, count.settled),
            )
        self._counts[sandbox] = count

    def forget_count(self, sandbox: str) -> None:
        """Of a sandbox that is gone. A repeat does nothing."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM restarts WHERE sandbox = ?", (sandbox,))
        self._counts.pop(sandbox, None)

    def counted(self) -> tuple[str, ...]:
        """Sandboxes of which something is counted."""
        return tuple(self._counts)


def _decode(name: str, body: str) -> Entry:
    try:
        table: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"what is known of project {name!r} is damaged") from error
    if not isinstance(table, dict):
        raise Corrupt(f"what is known of project {name!r} is damaged")
    return structure({str(key): value for key, value in table.items()}, Entry, f"project {name}")  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
