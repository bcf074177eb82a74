"""Named volumes: folders that outlive the sandboxes that use them.

A volume is a row in the database and a folder; the row comes first and goes last. A sandbox that uses one holds it by a row that
goes with the sandbox's, so a volume in use is never removed, whoever died meanwhile.
"""

from __future__ import annotations

import time
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Conflict, NotFound
from monocore_core.model.volume import check_volume_name
from monocore_core.store.atomic import make_directory, remove_tree, storage_errors
from monocore_core.store.database import Database
from monocore_core.store.layout import Layout
from monocore_core.store.owner import Owner


@frozen
class Volume:
    """One named volume.

    Attributes:
        name: unique.
        path: its folder on the host.
        created: seconds since the epoch.
        users: keys of the sandboxes that use it.
    """

    name: str
    path: Path
    created: float
    users: tuple[str, ...] = ()


@frozen
class Volumes:
    """The named volumes of one home directory."""

    layout: Layout
    database: Database

    def create(self, name: str) -> Volume:
        """The volume of that name, made when there is none.

        Raises:
            InvalidInput: no volume may have that name.
        """
        check_volume_name(name)
        with self.database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO volumes VALUES (?, ?)", (name, time.time()))
        with storage_errors(f"make the volume {name}"):
            make_directory(self._path(name))
        return self.find(name)

    def find(self, name: str) -> Volume:
        """The volume of that name.

        Raises:
            NotFound: there is none.
        """
        for volume in self.all():
            if volume.name == name:
                return volume
        raise NotFound(f"there is no volume {name[:80]!r}", hint="monocore volume ls")

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        rows = self.database.query(
            "SELECT volumes.name, volumes.created, volume_uses.sandbox, sandboxes.owner FROM volumes "
            "LEFT JOIN volume_uses ON volume_uses.volume = volumes.name "
            "LEFT JOIN sandboxes ON sandboxes.key = volume_uses.sandbox ORDER BY volumes.name, volume_uses.sandbox"
        )
        users: dict[str, list[str]] = {}
        created: dict[str, float] = {}
        for name, when, sandbox, owner in rows:
            created[str(name)] = when if isinstance(when, float) else 0.0
            found = users.setdefault(str(name), [])
            if sandbox is not None and _live(str(owner)):
                found.append(str(sandbox))
        return [Volume(name, self._path(name), created[name], tuple(keys)) for name, keys in users.items()]

    def use(self, name: str, sandbox: str) -> Volume:
        """The volume of that name, made when there is none, kept as long as the sandbox of that key has its folder."""
        with self.database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO volumes VALUES (?, ?)", (name, time.time()))
            connection.execute("INSERT OR IGNORE INTO volume_uses VALUES (?, ?)", (name, sandbox))
        return self.create(name)

    def remove(self, name: str) -> None:
        """Delete a volume with everything in it. A crash leaves it empty, or gone.

        Raises:
            NotFound: there is none.
            Conflict: a sandbox uses it.
        """
        with self.database.transaction() as connection:
            volume = self.find(name)
            if volume.users:
                raise Conflict(
                    f"volume {name!r} is in use by sandbox {volume.users[0]}", hint="end the sandbox first"
                )
            temporary = self.layout.temporary(Owner.current())
            with storage_errors(f"remove the volume {name}"):
                if volume.path.exists():
                    volume.path.rename(temporary)
            connection.execute("DELETE FROM volume_uses WHERE volume = ?", (name,))
            connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
        with storage_errors(f"remove the volume {name}"):
            remove_tree(temporary)

    def prune(self) -> list[str]:
        """Delete every volume that no sandbox uses; gives their names."""
        removed: list[str] = []
        for volume in self.all():
            try:
                self.remove(volume.name)
            except (Conflict, NotFound):  # taken, or removed, meanwhile
                continue
            removed.append(volume.name)
        return removed

    def _path(self, name: str) -> Path:
        return self.layout.volumes / name


def _live(owner: str) -> bool:
    parsed = Owner.parse(owner)
    return not owner or (parsed is not None and parsed.alive())
