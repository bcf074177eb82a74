"""What is written down of a connection, a file each: so that another process of ours hands out the same one, or ends it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import cast

from attrs import frozen

from monocore_core.errors import ConfigError, InvalidInput, StorageError
from monocore_core.hostports import same_port
from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.serde import structure, unstructure

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_MAX_SIZE = 256 * 1024


@frozen
class Record:
    """One connection: what was asked, and the ports that were chosen."""

    request: NetworkRequest
    published: tuple[Publish, ...]


@frozen
class Records:
    """The records in a folder, which is made when needed."""

    folder: Path

    def read(self, key: str) -> Record | None:
        """The record of a key; None when there is none, or it is damaged."""
        try:
            with self._path(key).open("rb") as file:
                data = cast("dict[str, object]", json.loads(file.read(_MAX_SIZE)))
            return structure(data, Record, str(self._path(key)))
        except (OSError, ValueError, ConfigError):
            return None

    def write(self, key: str, record: Record) -> None:
        """Keep a record.

        Raises:
            StorageError: the disk refuses.
        """
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with temporary.open("w") as file:
                file.write(json.dumps(unstructure(record)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"net_user: {path}: {error.strerror}") from error

    def remove(self, key: str) -> None:
        """Forget a key. An unknown one is not an error."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"net_user: {self._path(key)}: {error.strerror}") from error

    def keys(self) -> frozenset[str]:
        """Every key with a record."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise StorageError(f"net_user: {self.folder}: {error.strerror}") from error
        return frozenset(name for name in names if _KEY.match(name))

    def publisher(self, publish: Publish) -> str | None:
        """The sandbox that has been given a port of the host."""
        for key in sorted(self.keys()):
            record = self.read(key)
            if record is not None and any(same_port(publish, each) for each in record.published):
                return key
        return None

    def _path(self, key: str) -> Path:
        if not _KEY.match(key):
            raise InvalidInput(f"{key[:140]!r} cannot be a sandbox's key")
        return self.folder / key
