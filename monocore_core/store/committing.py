"""An image of a sandbox: the image that it was made of, and a layer more, which the sandbox's guest wrote.

The layer comes from the guest, which is trusted for nothing: its bytes are counted while they arrive, and the tar is read as mergers read
it before it becomes part of the store. The order of what is written is that of a pull (:mod:`.pull`): a death at any moment leaves a
temporary file, or a layer that nothing names, and never a name that leads to something incomplete.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from attrs import frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import Corrupt, GuestError, LimitExceeded, StorageError, Unsupported
from monocore_core.layertar import read_layer
from monocore_core.model.digest import Digest
from monocore_core.model.image import Image, chain_id
from monocore_core.model.oci import Platform
from monocore_core.ocidoc import parse_config
from monocore_core.ocidoc.derive import Commit, Derived, check_commit, derive
from monocore_core.reference import Reference
from monocore_core.store.atomic import Checkpoint, publish, remove_tree, storage_errors
from monocore_core.store.gc import layer_lock
from monocore_core.store.images import Images, Record
from monocore_core.store.leases import Leases, pull_lease
from monocore_core.store.limits import Limits
from monocore_core.store.locks import Locks
from monocore_core.store.owner import Owner

_BLOCK = 1024 * 1024
_ZEROS = bytes(_BLOCK)


@frozen
class Target:
    """What the new image is to be called.

    Attributes:
        names: possibly none; then it is kept until a prune, and found by its id.
        platform: for which the names mean it.
    """

    names: tuple[Reference, ...]
    platform: Platform


@frozen
class Committer:
    """Commits into one home directory."""

    images: Images
    leases: Leases
    locks: Locks
    checkpoint: Checkpoint

    async def commit(
        self, base: Image, chunks: AsyncIterator[bytes], commit: Commit, target: Target, limits: Limits
    ) -> Image:
        """See :meth:`monocore_core.store.Store.commit`."""
        check_commit(commit)
        _, config = self.images.documents(base.digest)
        temporary = self.images.layout.temporary(Owner.current())
        try:
            added = await _spool(chunks, temporary, limits)
            self.checkpoint("commit-written")
            await in_thread(lambda: _check(temporary))
            layers = [(layer.diff_id, layer.size) for layer in base.layers]
            derived = derive(config, layers, added, commit, time.time())
            diff_ids = tuple(diff_id for diff_id, _ in (*layers, added))
            lease = pull_lease(secrets.token_hex(8))
            self.leases.begin(lease, diff_ids, present=False)
            try:
                await self._keep(temporary, added, limits)
                digest = self._record(derived, diff_ids, target)
            finally:
                self.leases.end(lease.key)
        finally:
            remove_tree(temporary)
        image = self.images.load(digest)
        if image is None:
            raise StorageError("the image was removed while it was made", hint="commit the sandbox again")
        return image

    async def _keep(self, temporary: Path, added: tuple[Digest, int], limits: Limits) -> None:
        """Make the layer visible, unless it is: two sandboxes may have changed the same."""
        diff_id, size = added
        what = f"layer {diff_id.short}"
        async with self.locks.hold(layer_lock(diff_id), patience=limits.patience, what=what):
            if self.images.layer(diff_id) is not None:
                return
            target = self.images.layout.layer(diff_id)
            with storage_errors(f"store layer {diff_id}"):
                target.parent.mkdir(mode=0o700, exist_ok=True)
                os.chmod(temporary, 0o400)  # noqa: PTH101
                publish(temporary, target)
            self.checkpoint("commit-renamed")
            with self.images.database.transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO layers VALUES (?, ?)", (str(diff_id), size))

    def _record(self, derived: Derived, diff_ids: tuple[Digest, ...], target: Target) -> Digest:
        chain, digest = chain_id(diff_ids), Digest.of(derived.manifest)
        record = Record(
            digest=digest,
            manifest=derived.manifest,
            config=Digest.of(derived.config),
            config_bytes=derived.config,
            root=f"{chain.algorithm}-{chain.hex}",
            platform=parse_config(derived.config).platform,
            diff_ids=diff_ids,
            pulled=time.time(),
        )
        with self.images.database.transaction(durable=True) as connection:
            self.images.record(connection, record)
            for name in target.names:
                self.images.name(connection, name, target.platform, digest)
            self.checkpoint("commit-recording")
        return digest


async def _spool(chunks: AsyncIterator[bytes], path: Path, limits: Limits) -> tuple[Digest, int]:
    """Write a layer that nobody has named yet to a fresh file, synced; gives its digest and its bytes.

    Raises:
        LimitExceeded: it does not end in time. StorageError: the disk refuses.
    """
    hasher = hashlib.sha256()
    with storage_errors("write the new layer"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size, waiting = 0, bytearray()

        def write(block: bytes) -> None:
            """Zeros become a hole."""
            nonlocal size
            hasher.update(block)
            if block != _ZEROS[: len(block)]:
                at = 0
                while at < len(block):
                    at += os.pwrite(fd, block[at:], size + at)
            size += len(block)

        async for chunk in chunks:
            waiting += chunk
            if size + len(waiting) > limits.layer:
                raise LimitExceeded(
                    f"the sandbox has changed more than the {limits.layer} bytes that a layer may have"
                )
            while len(waiting) >= _BLOCK:
                block = bytes(waiting[:_BLOCK])
                del waiting[:_BLOCK]
                with storage_errors("write the new layer"):
                    await in_thread(partial(write, block))
        with storage_errors("write the new layer"):
            await in_thread(lambda: write(bytes(waiting)))
            os.ftruncate(fd, size)
            await in_thread(lambda: os.fsync(fd))
    finally:
        os.close(fd)
    return Digest("sha256", hasher.hexdigest()), size


def _check(path: Path) -> None:
    """Read the layer as whoever merges it will.

    Raises:
        GuestError: it is none.
    """
    try:
        with storage_errors("read the new layer"), path.open("rb") as stream:
            for _ in read_layer(stream):
                pass
    except (Corrupt, LimitExceeded, Unsupported) as error:
        raise GuestError(
            f"what the guest calls its changes is no layer: {error.brief}", hint=error.hint
        ) from error
