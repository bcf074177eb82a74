"""Checkpoints of sandboxes: a folder each, whole or not there.

::

    checkpoints/KEY/NAME/about.json    what it is
                         machine       the machine, in its VMM's form
                         upper.ext4    the writable disk, where the sandbox has one

They are made under a temporary name and renamed when everything in them is on the disk. What a sandbox that is gone has left, the next start of
the daemon removes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.errors import (
    ConfigError,
    Conflict,
    Corrupt,
    InvalidInput,
    LimitExceeded,
    MonocoreError,
    NotFound,
)
from monocore_core.keyed import sync_folder
from monocore_core.model.checkpoint import Checkpoint
from monocore_core.serde import structure, unstructure
from monocore_core.store.atomic import make_directory, remove_tree, storage_errors
from monocore_core.store.layout import Layout, checked_name
from monocore_core.store.owner import Owner

#: In a checkpoint's folder. The disk has the name that it has in a sandbox's.
ABOUT, MACHINE = "about.json", "machine"
#: Of one sandbox.
MAX_CHECKPOINTS = 100
_MAX_ABOUT = 8 * 1024 * 1024


@frozen
class Checkpoints:
    """Those of one home. Everything blocks."""

    layout: Layout

    @contextmanager
    def making(self, key: str, name: str) -> Generator[Path]:
        """A fresh folder to make one in, which is removed on leaving unless :meth:`keep` has taken it.

        Raises:
            InvalidInput: that cannot be its name. Conflict: the sandbox has one of that name. LimitExceeded: it has many. StorageError: the disk refuses.
        """
        if self.path(key, name).exists():
            raise Conflict(
                f"there is a checkpoint {name} already", hint="choose another name, or remove that one"
            )
        if len(self.all(key)) >= MAX_CHECKPOINTS:
            raise LimitExceeded(
                f"a sandbox has at most {MAX_CHECKPOINTS} checkpoints",
                hint="remove some: monocore checkpoint rm",
            )
        folder = self.layout.temporary(Owner.current())
        with storage_errors(f"make checkpoint {name}"):
            folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            remove_tree(folder)

    def keep(self, folder: Path, key: str, checkpoint: Checkpoint) -> Checkpoint:
        """Take a folder whose files are complete; gives the checkpoint with its size.

        Raises:
            Conflict: the sandbox has one of that name by now. StorageError: the disk refuses.
        """
        path = self.path(key, checkpoint.name)
        with storage_errors(f"keep checkpoint {checkpoint.name}"):
            sizes = [_synced(entry) for entry in folder.iterdir()]
            whole = evolve(checkpoint, size=sum(sizes))
            with os.fdopen(_fresh(folder / ABOUT), "w") as file:
                json.dump(unstructure(whole), file)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(folder)
            make_directory(path.parent)
            try:
                folder.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise Conflict(f"there is a checkpoint {checkpoint.name} already") from error
            sync_folder(path.parent)
            sync_folder(self.layout.checkpoints)
        return whole

    def path(self, key: str, name: str) -> Path:
        """Folder of a checkpoint, whether it is there or not.

        Raises:
            InvalidInput: that cannot be its name.
        """
        try:
            return self.layout.checkpoints / checked_name(key) / checked_name(name)
        except InvalidInput as error:
            raise InvalidInput(
                f"{name[:140]!r} cannot be the name of a checkpoint",
                hint="letters, digits and . _ -, at most 128",
            ) from error

    def get(self, key: str, name: str) -> Checkpoint:
        """One of a sandbox.

        Raises:
            NotFound: there is none of that name. Corrupt: it is damaged. InvalidInput: that cannot be its name.
        """
        path = self.path(key, name) / ABOUT
        try:
            with path.open("rb") as file:
                found: object = json.loads(file.read(_MAX_ABOUT))
            return structure(_table(found), Checkpoint, f"checkpoint {name}")
        except FileNotFoundError:
            raise NotFound(
                f"there is no checkpoint {name}", hint="monocore checkpoint ls lists them"
            ) from None
        except (ValueError, RecursionError, ConfigError) as error:
            raise Corrupt(
                f"checkpoint {name} is damaged", hint="remove it: monocore checkpoint rm"
            ) from error

    def all(self, key: str) -> list[Checkpoint]:
        """Those of a sandbox that can be read, the oldest first."""
        found: list[Checkpoint] = []
        for name in _names(self.layout.checkpoints / checked_name(key)):
            try:
                found.append(self.get(key, name))
            except MonocoreError:  # it is removed meanwhile, or damaged
                continue
        return sorted(found, key=lambda one: (one.created, one.name))

    def remove(self, key: str, name: str) -> None:
        """Remove one.

        Raises:
            NotFound: there is none of that name. StorageError: the disk refuses.
        """
        path = self.path(key, name)
        if not path.exists():
            raise NotFound(f"there is no checkpoint {name}", hint="monocore checkpoint ls lists them")
        self._drop(path)

    def remove_all(self, key: str) -> None:
        """Those of a sandbox that goes. A repeat does nothing."""
        self._drop(self.layout.checkpoints / checked_name(key))

    def sweep(self, known: frozenset[str]) -> None:
        """Remove those of sandboxes that are not among the known ones."""
        for key in _names(self.layout.checkpoints):
            if key not in known:
                self._drop(self.layout.checkpoints / key)

    def _drop(self, path: Path) -> None:
        """Take it out of sight first, so that nobody finds half of it."""
        with storage_errors(f"remove {path.name}"):
            hidden = self.layout.temporary(Owner.current())
            try:
                path.rename(hidden)
            except FileNotFoundError:
                return
            remove_tree(hidden)


def _synced(path: Path) -> int:
    """Have a file on the disk; gives the bytes that it takes there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_blocks * 512


def _table(found: object) -> dict[str, object]:
    if not isinstance(found, dict):
        raise ValueError("not a table")  # noqa: TRY004 - whatever is wrong, it is damaged
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _fresh(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
