"""Leases: what keeps an image's layers and root while something uses them, whatever becomes of the image's record.

A lease belongs to a process and is void when that process is dead; one without an owner lasts until it is ended by its key.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from sqlite3 import Connection

from attrs import frozen

from monocore_core.errors import Conflict, NotFound
from monocore_core.model.digest import Digest
from monocore_core.store.database import Database
from monocore_core.store.owner import Owner

#: Begins the keys of the leases that pulls hold; they name no image, since there is none yet.
PULL_PREFIX = "pull:"


@frozen
class Lease:
    """One lease.

    Attributes:
        key: of the sandbox, or whatever its holder chose.
        name: for people, or "".
        image: digest of the manifest, or None for a pull.
        root: key of the merged root, or "".
        owner: the process that holds it, or None for a lease that outlives processes.
        created: seconds since the epoch.
    """

    key: str
    name: str
    image: Digest | None
    root: str
    owner: Owner | None
    created: float


@frozen
class Leases:
    """The leases of one home directory."""

    database: Database

    def begin(self, lease: Lease, diff_ids: Iterable[Digest], *, present: bool = True) -> None:
        """Hold layers, with what else ``lease`` says.

        Args:
            lease: its key must be new, or of a dead owner.
            diff_ids: layers to hold.
            present: whether the layers must be there; a pull holds what will be.

        Raises:
            Conflict: a living process has a lease of that key, or it has no owner.
            NotFound: a layer is gone.
        """
        owner = "" if lease.owner is None else str(lease.owner)
        image = "" if lease.image is None else str(lease.image)
        with self.database.transaction() as connection:
            taken = connection.execute("SELECT owner FROM leases WHERE key = ?", (lease.key,)).fetchone()
            if taken is not None and _live(str(taken[0])):
                raise Conflict(f"a lease called {lease.key!r} exists already")
            connection.execute("DELETE FROM leases WHERE key = ?", (lease.key,))
            connection.execute(
                "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?)",
                (lease.key, owner, lease.name, image, lease.root, lease.created),
            )
            for diff_id in set(diff_ids):
                row = connection.execute("SELECT 1 FROM layers WHERE diff_id = ?", (str(diff_id),)).fetchone()
                if present and row is None:
                    raise NotFound(
                        f"layer {diff_id} was removed from the store meanwhile", hint="pull the image again"
                    )
                connection.execute("INSERT INTO lease_layers VALUES (?, ?)", (lease.key, str(diff_id)))

    def end(self, key: str) -> None:
        """End a lease. An unknown key is not an error."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE key = ?", (key,))

    def all(self) -> list[Lease]:
        """Every lease that is not void, oldest first, pulls included."""
        rows = self.database.query(
            "SELECT key, name, image, root, owner, created FROM leases ORDER BY created"
        )
        return [
            Lease(str(key), str(name), Digest.parse(str(image)) if image else None, str(root), owner, created)
            for key, name, image, root, text, created in rows
            if _live(str(text)) and isinstance(created, float)
            for owner in [Owner.parse(str(text))]
        ]

    def end_dead(self) -> int:
        """Delete the leases of dead owners; gives how many there were."""
        rows = self.database.query("SELECT key, owner FROM leases WHERE owner != ''")
        dead = [(str(key), str(owner)) for key, owner in rows if not _live(str(owner))]
        if dead:
            with self.database.transaction() as connection:
                connection.executemany("DELETE FROM leases WHERE key = ? AND owner = ?", dead)
        return len(dead)


def pull_lease(token: str) -> Lease:
    """The lease by which a pull keeps its layers until its image is recorded."""
    return Lease(PULL_PREFIX + token, "", None, "", Owner.current(), time.time())


def live_images(connection: Connection) -> dict[str, str]:
    """Within a transaction: digests of the images that live leases hold, with the name or key of one holder."""
    rows = connection.execute("SELECT image, name, key, owner FROM leases WHERE image != ''").fetchall()
    return {str(image): str(name or key) for image, name, key, owner in rows if _live(str(owner))}


def _live(owner: str) -> bool:
    if not owner:
        return True
    parsed = Owner.parse(owner)
    return parsed is not None and parsed.alive()
