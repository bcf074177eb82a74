"""Giving disk space back, and saying where it is.

A layer goes when neither an image nor a live lease names it. Who wants it at the same time holds a lease first, then looks for the
row: either its lease was seen here, or the row is gone when it looks. The file goes after the row, under the layer's lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from monocore_core.model.digest import Digest
from monocore_core.store.atomic import Checkpoint, storage_errors
from monocore_core.store.database import Database
from monocore_core.store.layout import Layout
from monocore_core.store.leases import Leases
from monocore_core.store.locks import Locks

_UNUSED = """
    FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)
    AND diff_id NOT IN (SELECT diff_id FROM lease_layers)
"""


@frozen
class Reclaimed:
    """What was given back.

    Attributes:
        images: number of image records.
        layers: number of layer files.
        temporaries: number of files that dead processes left.
        bytes: disk space, as allocated.
    """

    images: int = 0
    layers: int = 0
    temporaries: int = 0
    bytes: int = 0


@frozen
class Usage:
    """Of one category: files, their bytes, and the bytes that the disk gave them (less for sparse files)."""

    files: int = 0
    bytes: int = 0
    allocated: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.files + other.files, self.bytes + other.bytes, self.allocated + other.allocated)


@frozen
class DiskUsage:
    """Where the home directory's space is.

    Attributes:
        images: number of image records.
        layers: uncompressed layers.
        unused_layers: the part of ``layers`` that :func:`collect` would remove.
        database: SQLite's files.
        temporaries: unfinished files.
        sandboxes: folders of running sandboxes.
        checkpoints: captured sandboxes.
        volumes: named volumes.
        backends: state of the backends, e.g. merged roots.
        cache: what can be made again.
    """

    images: int
    layers: Usage
    unused_layers: Usage
    database: Usage
    temporaries: Usage
    sandboxes: Usage
    checkpoints: Usage
    volumes: Usage
    backends: Usage
    cache: Usage

    @property
    def total(self) -> Usage:
        """Everything; ``unused_layers`` are counted once."""
        parts = (
            self.layers,
            self.database,
            self.temporaries,
            self.sandboxes,
            self.checkpoints,
            self.volumes,
            self.backends,
            self.cache,
        )
        return sum(parts, Usage())


@frozen
class Collector:
    """The garbage collector of one home directory."""

    layout: Layout
    database: Database
    locks: Locks
    leases: Leases
    checkpoint: Checkpoint

    def repair(self) -> int:
        """Remove what dead processes left: temporaries, leases, sandbox folders. Takes milliseconds; gives their number."""
        with storage_errors("remove what an ended process left in the store"):
            return self.layout.remove_stale_temporaries() + self.leases.end_dead()

    def collect(self) -> Reclaimed:
        """Remove every layer that nothing names, and every layer file that is not recorded. A repeat finds nothing."""
        temporaries = self.repair()
        layers = size = 0
        for diff_id in self._candidates():
            with self.locks.hold_now(layer_lock(diff_id)) as held:
                if not held:  # it is being pulled
                    continue
                freed = self._remove(diff_id)
                layers += freed is not None
                size += freed or 0
        self._drop_documents()
        return Reclaimed(layers=layers, temporaries=temporaries, bytes=size)

    def usage(self) -> DiskUsage:
        """Measure. Files that come and go meanwhile may be missed."""
        layout = self.layout
        rows = self.database.query(f"SELECT diff_id {_UNUSED}")
        unused = (layout.layer(Digest.parse(str(row[0]))) for row in rows)
        count = self.database.query("SELECT count(*) FROM images")[0][0]
        database = (
            layout.database.with_name(layout.database.name + suffix) for suffix in ("", "-wal", "-shm")
        )
        return DiskUsage(
            images=count if isinstance(count, int) else 0,
            layers=tree_usage(layout.layers),
            unused_layers=sum(map(_usage, unused), Usage()),
            database=sum(map(_usage, database), Usage()),
            temporaries=tree_usage(layout.temporaries),
            sandboxes=tree_usage(layout.sandboxes),
            checkpoints=tree_usage(layout.checkpoints),
            volumes=tree_usage(layout.volumes),
            backends=tree_usage(layout.backends),
            cache=tree_usage(layout.cache),
        )

    def _candidates(self) -> list[Digest]:
        recorded = {str(row[0]) for row in self.database.query("SELECT diff_id FROM layers")}
        unused = {str(row[0]) for row in self.database.query(f"SELECT diff_id {_UNUSED}")}
        files = {f"{path.parent.name}:{path.stem}" for path in self.layout.layers.glob("*/*.tar")}
        return [Digest.parse(text) for text in sorted(unused | (files - recorded))]

    def _remove(self, diff_id: Digest) -> int | None:
        """Under the layer's lock: bytes given back, or None when it is used after all."""
        with self.database.transaction() as connection:
            connection.execute(
                f"DELETE FROM layers WHERE diff_id IN (SELECT diff_id {_UNUSED}) AND diff_id = ?",  # noqa: S608 - a literal
                (str(diff_id),),
            )
            if connection.execute("SELECT 1 FROM layers WHERE diff_id = ?", (str(diff_id),)).fetchone():
                return None
        self.checkpoint("layer-forgotten")
        path = self.layout.layer(diff_id)
        size = _usage(path).allocated
        with storage_errors(f"remove layer {diff_id}"):
            path.unlink(missing_ok=True)
        return size

    def _drop_documents(self) -> None:
        with self.database.transaction() as connection:
            connection.execute(
                "DELETE FROM documents WHERE digest NOT IN (SELECT digest FROM images) "
                "AND digest NOT IN (SELECT config FROM images)"
            )


def layer_lock(diff_id: Digest) -> str:
    """Name of the lock of whoever writes or removes a layer."""
    return f"layer {diff_id}"


def tree_usage(root: Path) -> Usage:
    """Of all files below a folder, each counted once whatever its names; folders themselves count nothing.

    Guests may have written there: it can be deeper than any stack, and what is mounted in it is elsewhere.
    """
    seen: set[tuple[int, int]] = set()
    files = size = allocated = 0
    for status in _files(root):
        if status.st_nlink > 1:
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        files, size, allocated = files + 1, size + status.st_size, allocated + status.st_blocks * 512
    return Usage(files, size, allocated)


def _files(root: Path) -> Iterator[os.stat_result]:
    """Of every file below ``root`` on its own file system; what comes, goes or cannot be named meanwhile is passed over."""
    waiting = [os.fspath(root)]
    with suppress(OSError):
        device = root.lstat().st_dev
        while waiting:
            with suppress(OSError), os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        if not entry.is_dir(follow_symlinks=False):
                            yield status
                        elif status.st_dev == device:
                            waiting.append(entry.path)


def _usage(path: Path) -> Usage:
    try:
        status = path.lstat()
    except OSError:
        return Usage()
    return Usage(1, status.st_size, status.st_blocks * 512)
