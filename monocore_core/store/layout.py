"""Where everything is in the home directory. All folders are 0700, all files 0600.

::

    state.db                  SQLite: images, names, documents, layers, leases
    layers/ALGORITHM/HEX.tar  uncompressed layers by diff ID; a file counts only with its row in the database
    temporary/OWNER-RANDOM    what is being written; removed when its owner is dead
    locks/HASH                flock files
    sandboxes/KEY/            one running sandbox each: sockets, console, scratch disk
    checkpoints/KEY/NAME/     a captured sandbox each, see checkpoints.py
    volumes/NAME/             named volumes, each with its row in the database
    backends/KIND/NAME/       state of one backend
    cache/                    may be emptied while nothing runs
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from attrs import frozen

from monocore_core.errors import InvalidInput, StorageError
from monocore_core.model.digest import Digest
from monocore_core.store.atomic import make_directory, remove_tree, storage_errors
from monocore_core.store.owner import Owner

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}\Z")
_PARTS = ("layers/sha256", "temporary", "locks", "sandboxes", "checkpoints", "volumes", "backends", "cache")


@frozen
class Layout:
    """Paths of one home directory."""

    home: Path

    @classmethod
    def make(cls, home: Path) -> Layout:
        """Make the folders that are missing.

        Raises:
            StorageError: the disk refuses, or others may write into the folder.
        """
        layout = cls(home.absolute())
        with storage_errors(f"make the store in {home}"):
            make_directory(layout.home)
            status = layout.home.stat()
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise StorageError(
                    f"the store's folder {home} belongs to another user or may be written to by others",
                    hint=f"chown it to yourself and run: chmod 700 {home}",
                )
            for part in _PARTS:
                make_directory(layout.home / part)
        return layout

    @property
    def database(self) -> Path:
        """The state database."""
        return self.home / "state.db"

    @property
    def layers(self) -> Path:
        """Folder of all layers, by algorithm."""
        return self.home / "layers"

    @property
    def temporaries(self) -> Path:
        """Folder of unfinished files."""
        return self.home / "temporary"

    @property
    def locks(self) -> Path:
        """Folder of lock files."""
        return self.home / "locks"

    @property
    def sandboxes(self) -> Path:
        """Folder of the running sandboxes' folders."""
        return self.home / "sandboxes"

    @property
    def checkpoints(self) -> Path:
        """Folder of the sandboxes' folders of checkpoints."""
        return self.home / "checkpoints"

    @property
    def volumes(self) -> Path:
        """Folder of the named volumes' folders."""
        return self.home / "volumes"

    @property
    def backends(self) -> Path:
        """Folder of the backends' state."""
        return self.home / "backends"

    @property
    def cache(self) -> Path:
        """Folder of what can be made again."""
        return self.home / "cache"

    def layer(self, diff_id: Digest) -> Path:
        """Where the layer of that diff ID is, once it is there."""
        return self.layers / diff_id.algorithm / f"{diff_id.hex}.tar"

    def temporary(self, owner: Owner) -> Path:
        """A fresh name for an unfinished file of ``owner``."""
        return self.temporaries / f"{owner}-{secrets.token_hex(8)}"

    def sandbox(self, key: str) -> Path:
        """Folder of one sandbox."""
        return self.sandboxes / checked_name(key)

    def remove_stale_temporaries(self) -> int:
        """Delete unfinished files whose owner is dead; gives how many there were."""
        removed = 0
        for path in self.temporaries.iterdir():
            owner = Owner.parse(path.name.rpartition("-")[0])
            if owner is None or not owner.alive():
                remove_tree(path)
                removed += 1
        return removed


def checked_name(name: str) -> str:
    """``name`` itself when it is safe as the name of a file.

    Raises:
        InvalidInput: it is not.
    """
    if not _NAME.match(name):
        raise InvalidInput(f"{name[:140]!r} cannot be the name of a folder in the store")
    return name
