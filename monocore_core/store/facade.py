"""The store's face: everything that is kept between two commands."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, evolve

from monocore_core.errors import Conflict, NotFound
from monocore_core.interfaces.image_source import ImageSource
from monocore_core.model.events import Listener, ignore
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.ocidoc.derive import Commit
from monocore_core.reference import Reference, parse_reference
from monocore_core.store.atomic import Checkpoint, make_directory, no_checkpoint, remove_tree, storage_errors
from monocore_core.store.checkpoints import Checkpoints
from monocore_core.store.database import Database
from monocore_core.store.gc import Collector, DiskUsage, Reclaimed
from monocore_core.store.images import Images, Removed, looks_like_id, resolve
from monocore_core.store.layout import Layout, checked_name
from monocore_core.store.leases import Lease, Leases
from monocore_core.store.limits import DEFAULT_LIMITS, Limits
from monocore_core.store.locks import Locks
from monocore_core.store.owner import Owner
from monocore_core.store.scratch import make_scratch_disk
from monocore_core.store.volumes import Volumes
from monocore_core.unpacking.service import Unpackers

#: In a sandbox's folder: the disk for writes, and what begins the names of its own volumes.
SCRATCH_NAME, VOLUME_PREFIX = "upper.ext4", "volume"


@define(eq=False)
class Store:
    """One home directory. Use :meth:`open`.

    Any number of processes may have it open; every method may be called by any thread. Whatever a process that is killed
    was doing, the next :meth:`open` finds a consistent store and removes its remains.

    Worked example::

        with Store.open(Path("~/.monocore").expanduser()) as store:
            image = store.find_image(reference, platform) or await store.pull(source, reference, platform)
            with store.lease(image, "sandbox-1"):
                root = await merger.merge(root_key(image), image.layers)
    """

    layout: Layout
    database: Database
    volumes: Volumes
    checkpoints: Checkpoints
    _images: Images
    _leases: Leases
    _collector: Collector
    _locks: Locks
    _checkpoint: Checkpoint

    @staticmethod
    @contextmanager
    def open(home: Path, *, checkpoint: Checkpoint = no_checkpoint) -> Generator[Store]:
        """Open, making what is missing and removing what dead processes left. Takes milliseconds.

        Args:
            home: folder, made with mode 0700.
            checkpoint: called between two steps on the disk; for tests that end the process there.

        Raises:
            StorageError: the disk refuses, or others may write into ``home``.
            Corrupt: the state database is damaged.
            Unsupported: a later monocore has changed it.
        """
        layout = Layout.make(home)
        locks = Locks(layout.locks)
        database = Database(layout.database, locks)
        try:
            images, leases = Images(layout, database), Leases(database)
            collector = Collector(layout, database, locks, leases, checkpoint)
            store = Store(
                layout,
                database,
                Volumes(layout, database),
                Checkpoints(layout),
                images,
                leases,
                collector,
                locks,
                checkpoint,
            )
            collector.repair()
            store._remove_dead_sandboxes()
            yield store
        finally:
            database.close()

    # images

    def find_image(self, reference: Reference, platform: Platform) -> Image | None:
        """The complete image of that name, or with that digest, for a platform; None when there is none.

        ``platform`` is the one that was asked for when it was pulled. Takes under a millisecond; reads no layer.
        """
        return self._images.find(reference, platform)

    def resolve_image(
        self,
        image: str | Reference,
        platform: Platform,
        *,
        parse: Callable[[str], Reference] = parse_reference,
    ) -> Image | None:
        """The complete image that a person means: a reference, or the beginning of an id (a name goes before an id).

        Raises:
            InvalidInput: neither a reference nor an id, or the beginning of several ids.
            Unsupported: the id is of an image for another platform.
        """
        return resolve(self._images, image, platform, parse)

    def images(self) -> list[Image]:
        """Every complete image, the latest first."""
        return self._images.all()

    def image_documents(self, image: Image) -> tuple[bytes, bytes]:
        """Manifest and configuration, exactly as pulled.

        Raises:
            NotFound: the image has been removed.
        """
        return self._images.documents(image.digest)

    async def pull(
        self,
        source: ImageSource,
        reference: Reference,
        platform: Platform,
        *,
        listener: Listener = ignore,
        limits: Limits = DEFAULT_LIMITS,
        names: tuple[Reference, ...] | None = None,
        unpackers: Unpackers | None = None,
    ) -> Image:
        """Bring an image into the store, every byte verified, and give it names on ``platform``.

        The names are ``reference`` itself, or ``names``; with none it is kept until :meth:`prune`, and found by its id. Layers are decompressed in
        processes of ``unpackers``, or, without, in our own.

        Repeat: asks the source what the name means now, and transfers only layers that are missing or have another size than
        they should. Two at once, in any processes: each layer is transferred once, the other waits (a ``Waiting`` event).
        Failure, cancellation, death: the name means what it meant before; complete layers stay until :meth:`prune`.

        Raises:
            NotFound, Unauthorized, Unreachable: of the source.
            Corrupt: a digest, length or number does not fit, or compressed data is damaged.
            Unsupported: not an image, a media type that is not taken, or an image for another platform.
            LimitExceeded: beyond ``limits``.
            StorageError: the disk refuses.
            DeadlineExceeded: another process held a layer for ``limits.patience`` seconds.
        """
        from monocore_core.store.pull import Puller  # noqa: PLC0415 - with what decompresses; most commands only look

        puller = Puller(self._images, self._leases, self._locks, self._checkpoint, unpackers)
        given = (reference,) if names is None else names
        return await puller.pull(source, reference, platform, limits, listener, names=given)

    async def commit(
        self,
        base: Image,
        chunks: AsyncIterator[bytes],
        commit: Commit,
        platform: Platform,
        *,
        names: tuple[Reference, ...] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> Image:
        """An image that is ``base`` and one layer more, with names on ``platform``; each then means this one, and what it meant stays under its id.

        Failure, cancellation, death: names mean what they meant before; a layer that came whole stays until :meth:`prune`.

        Args:
            base: whose layers somebody holds.
            chunks: the layer's uncompressed tar, from whoever is not trusted.
            commit: what is said of the image.
            platform: of the names.
            names: possibly none.
            limits: of the layer.

        Raises:
            InvalidInput: a change of ``commit`` makes no sense.
            NotFound: ``base`` has been removed.
            GuestError: the tar is no layer. LimitExceeded: it is too large. StorageError: the disk refuses.
        """
        from monocore_core.store.committing import Committer, Target  # noqa: PLC0415 - most commands only look

        committer = Committer(self._images, self._leases, self._locks, self._checkpoint)
        return await committer.commit(base, chunks, commit, Target(names, platform), limits)

    def remove_image(
        self,
        image: str | Reference,
        *,
        platform: Platform | None = None,
        force: bool = False,
        parse: Callable[[str], Reference] = parse_reference,
    ) -> tuple[Removed, Reclaimed]:
        """Take a name away, and with an image's last name the image and the layers that nothing else needs (Docker's rules).

        An id takes the image with its only name, and with all its names when ``force`` is given. A crash leaves at most unused
        layers, which :meth:`prune` removes.

        Args:
            image: reference, or the beginning of an id.
            platform: of the name; every one by default.
            force: also when a sandbox uses the image: it goes from the lists, its files when the sandbox ends.
            parse: for references.

        Raises:
            NotFound: there is no such image.
            Conflict: a sandbox uses it, or an id has several names, and ``force`` is not given.
            InvalidInput: neither a reference nor an id, or the beginning of several ids.
        """
        digest = self._images.match_id(image) if isinstance(image, str) else None
        if isinstance(image, str) and digest is not None and not self._is_name(image, parse):
            removed = self._images.remove_id(digest, force=force)
        elif isinstance(image, str) and looks_like_id(image) and ":" in image:
            raise NotFound(f"no image in the store has the id {image}", hint="monocore images lists them")
        else:
            reference = parse(image) if isinstance(image, str) else image
            removed = self._images.remove_name(reference, platform, force=force)
        return removed, self._collector.collect()

    def prune(self, *, all_unused: bool = False) -> tuple[Removed, Reclaimed]:
        """Remove images that no sandbox uses and that have no name (``all_unused``: or have one), unused layers, and leftovers.

        A repeat finds nothing. What is being pulled stays.
        """
        removed = self._images.remove_unused(named=all_unused)
        reclaimed = self._collector.collect()
        return removed, evolve(reclaimed, images=len(removed.deleted))

    def root_keys_in_use(self) -> frozenset[str]:
        """Keys of the merged roots of every image and live lease, shared and private; other roots can be removed."""
        rows = self.database.query("SELECT root FROM images")
        leases = [lease for lease in self._leases.all() if lease.root]
        kept = {str(row[0]) for row in rows} | {lease.root for lease in leases}
        return frozenset(kept | {private_root_key(lease.root, lease.key) for lease in leases})

    def disk_usage(self) -> DiskUsage:
        """Where the space is. Walks the whole home directory: call it in a thread."""
        return self._collector.usage()

    # leases and sandboxes

    @contextmanager
    def lease(self, image: Image, key: str, *, name: str = "") -> Generator[None]:
        """Hold an image's layers and root, in the name of this process, until the block ends or the process dies.

        Raises:
            Conflict: a living process has a lease of that key.
            NotFound: the image has been removed meanwhile.
        """
        self.begin_lease(image, key, name=name)
        try:
            yield
        finally:
            self.end_lease(key)

    def begin_lease(self, image: Image, key: str, *, name: str = "", persistent: bool = False) -> None:
        """As :meth:`lease`, until :meth:`end_lease`; ``persistent`` outlives this process."""
        chain = image.chain_id
        owner = None if persistent else Owner.current()
        lease = Lease(key, name, image.digest, f"{chain.algorithm}-{chain.hex}", owner, time.time())
        self._leases.begin(lease, [layer.diff_id for layer in image.layers])

    def end_lease(self, key: str) -> None:
        """End a lease. An unknown key is not an error."""
        self._leases.end(key)

    def leases(self) -> list[Lease]:
        """Every live lease, oldest first; pulls hold some, too (their ``image`` is None)."""
        return self._leases.all()

    @contextmanager
    def sandbox_directory(self, key: str) -> Generator[Path]:
        """A fresh folder (0700) for a sandbox, deleted with its contents on leaving, or after this process's death.

        Raises:
            Conflict: a living process has the folder of that key.
        """
        path = self.make_sandbox_directory(key)
        try:
            yield path
        finally:
            self.remove_sandbox_directory(key)

    def make_sandbox_directory(self, key: str, *, persistent: bool = False) -> Path:
        """As :meth:`sandbox_directory`, until :meth:`remove_sandbox_directory`; ``persistent`` outlives this process."""
        path = self.layout.sandbox(key)
        owner = "" if persistent else str(Owner.current())
        with self.database.transaction() as connection:
            taken = connection.execute("SELECT owner FROM sandboxes WHERE key = ?", (key,)).fetchone()
            if taken is not None and _live(str(taken[0])):
                raise Conflict(f"sandbox {key} exists already")
            connection.execute("INSERT OR REPLACE INTO sandboxes VALUES (?, ?)", (key, owner))
        try:
            with storage_errors(f"make the folder of sandbox {key}"):
                remove_tree(path)  # of before a power loss that forgot the row
                path.mkdir(mode=0o700)
        except BaseException:
            self.remove_sandbox_directory(key)
            raise
        return path

    def keep_sandbox_directory(self, key: str) -> Path:
        """A folder for a sandbox that outlives this process, until :meth:`remove_sandbox_directory`.

        One that an earlier run of the sandbox left is used again: its disk and its own volumes stay, the rest goes.
        """
        path = self.layout.sandbox(key)
        rows = self.database.query("SELECT owner FROM sandboxes WHERE key = ?", key)
        if rows != [("",)] or not path.is_dir():
            return self.make_sandbox_directory(key, persistent=True)
        with storage_errors(f"clear the folder of sandbox {key}"):
            for entry in path.iterdir():
                if entry.name != SCRATCH_NAME and not entry.name.startswith(VOLUME_PREFIX):
                    remove_tree(entry)
        return path

    def remove_sandbox_directory(self, key: str) -> None:
        """Delete the folder. An unknown key is not an error; a repeat finishes."""
        with storage_errors(f"remove the folder of sandbox {key}"):
            remove_tree(self.layout.sandbox(key))
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM sandboxes WHERE key = ?", (key,))

    async def scratch_disk(self, directory: Path, size: int) -> Path:
        """An ext4 disk of ``size`` bytes, sparse, as ``upper.ext4`` in a sandbox's folder, with which it goes.

        It is empty, or what an earlier run of the sandbox left in the folder.

        Raises:
            InvalidInput: a size that ext4 cannot have.
            StorageError: the disk refuses.
            Unsupported: mkfs.ext4 is not installed.
        """
        kept = directory / SCRATCH_NAME
        if kept.is_file():
            return kept
        templates, temporary = self.cache_directory("scratch"), self.layout.temporary(Owner.current())
        return await make_scratch_disk(kept, size, templates, temporary)

    # places

    def backend_state(self, kind: str, name: str) -> Path:
        """The persistent folder (0700) of one backend, made when missing."""
        return self._place(self.layout.backends / checked_name(kind) / checked_name(name))

    def backend_cache(self, kind: str, name: str) -> Path:
        """The cache folder (0700) of one backend, made when missing."""
        return self._place(self.layout.cache / checked_name(kind) / checked_name(name))

    def backend_places(self, kind: str, name: str) -> tuple[Path, Path]:
        """Both folders of one backend: state and cache."""
        return self.backend_state(kind, name), self.backend_cache(kind, name)

    def cache_directory(self, name: str) -> Path:
        """A cache folder (0700) of the core itself, made when missing."""
        return self._place(self.layout.cache / checked_name(name))

    def _place(self, path: Path) -> Path:
        with storage_errors(f"make the folder {path}"):
            make_directory(path)
        return path

    def _is_name(self, text: str, parse: Callable[[str], Reference]) -> bool:
        if ":" in text and looks_like_id(text):
            return False
        reference = parse(text)
        return bool(self.database.query("SELECT 1 FROM names WHERE reference = ? LIMIT 1", str(reference)))

    def _remove_dead_sandboxes(self) -> None:
        """Folders whose owner is dead, and those that a power loss left without a row."""
        rows = {
            str(key): str(owner) for key, owner in self.database.query("SELECT key, owner FROM sandboxes")
        }
        live = {key for key, owner in rows.items() if _live(owner)}
        with storage_errors("list the sandboxes' folders"):
            folders = {path.name for path in self.layout.sandboxes.iterdir()}
        if not (folders - live or rows.keys() - live):
            return
        known = {str(key) for (key,) in self.database.query("SELECT key FROM sandboxes")}
        with storage_errors("remove the folder of a sandbox that has ended"):
            for key in (folders - known) | (rows.keys() - live):  # none that was begun since we looked
                remove_tree(self.layout.sandboxes / key)
        with self.database.transaction() as connection:
            connection.executemany(
                "DELETE FROM sandboxes WHERE key = ?", [(key,) for key in rows.keys() - live]
            )


def private_root_key(root: str, key: str) -> str:
    """The key of the root that only the sandbox ``key`` uses, of the image whose shared root has the key ``root``."""
    return f"{root}-{key}".lower()


def _live(owner: str) -> bool:
    parsed = Owner.parse(owner)
    return not owner or (parsed is not None and parsed.alive())
