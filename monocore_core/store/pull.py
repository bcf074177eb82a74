"""Bringing an image into the store, once, however many ask for it.

Order matters, for a death at any moment: a lease holds the layers to come; each layer becomes a file, synced and renamed, then a row;
only when all are there is the image recorded, in one transaction. So a name never leads to something incomplete.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from attrs import define, field, frozen

from monocore_core.errors import Corrupt, LimitExceeded, StorageError, Unsupported
from monocore_core.interfaces.image_source import MAX_DOCUMENT, ImageSource, ResolvedImage
from monocore_core.model.digest import Digest
from monocore_core.model.events import LayerDone, LayerProgress, Listener, Resolved
from monocore_core.model.image import Image, chain_id
from monocore_core.model.oci import CONFIG_TYPES, LAYER_COMPRESSION, Descriptor, ImageConfig, Platform
from monocore_core.ocidoc import parse_config
from monocore_core.reference import Reference
from monocore_core.store.atomic import Checkpoint, publish, remove_tree, storage_errors
from monocore_core.store.gc import layer_lock
from monocore_core.store.images import Images, Record, check_platform, suits
from monocore_core.store.ingest import THREADS, LayerSpec, ingest
from monocore_core.store.leases import Leases, pull_lease
from monocore_core.store.limits import Limits
from monocore_core.store.locks import Locks
from monocore_core.store.owner import Owner
from monocore_core.unpacking.process import Worker
from monocore_core.unpacking.service import Session, Unpackers


@frozen
class Puller:
    """Pulls into one home directory."""

    images: Images
    leases: Leases
    locks: Locks
    checkpoint: Checkpoint
    unpackers: Unpackers | None = None

    async def pull(
        self,
        source: ImageSource,
        reference: Reference,
        platform: Platform,
        limits: Limits,
        listener: Listener,
        *,
        names: tuple[Reference, ...],
    ) -> Image:
        """See :meth:`monocore_core.store.Store.pull`."""
        found = await source.resolve(reference, platform)
        _check_manifest(found, limits)
        layers = found.manifest.layers
        before = self.images.find(reference, platform)
        known = before is not None and before.digest == found.digest
        sizes = tuple((each.digest, each.size) for each in layers)
        listener(Resolved(str(reference), found.digest, sizes, known))
        what = f"image {reference}"
        async with self.locks.hold(
            f"image {found.digest}", patience=limits.patience, what=what, listener=listener
        ):
            image = self._rename_present(found, names, platform)
            if image is not None:
                for descriptor, layer in zip(layers, image.layers, strict=True):
                    listener(LayerDone(descriptor.digest, layer.diff_id, existed=True))
                return image
            async with self._decompressing() as session:
                config_bytes = await self._config(source, found)
                config = parse_config(config_bytes)
                _check_config(found, config, platform)
                async with self._holding(config.diff_ids):
                    job = _Job(self, source, found, limits, listener, session)
                    await job.layers_in(config.diff_ids)
                    self.checkpoint("layers-complete")
                    self._record(found, config, config_bytes, names, platform)
        image = self.images.load(found.digest)
        if image is None:
            raise StorageError(f"{what} was removed while it was pulled", hint="pull it again")
        return image

    @asynccontextmanager
    async def _decompressing(self) -> AsyncGenerator[Session | None]:
        """Whoever decompresses the layers; the first one starts while the configuration is fetched."""
        if self.unpackers is None:
            yield None
            return
        async with self.unpackers.session() as session:
            session.begin()
            yield session

    def _rename_present(
        self, found: ResolvedImage, names: tuple[Reference, ...], platform: Platform
    ) -> Image | None:
        """When the manifest is here already, complete and fit, give it the names."""
        image = self.images.load(found.digest)
        if image is None:
            return None
        _check_config(found, image.config, platform)
        with self.images.database.transaction(durable=True) as connection:
            row = (time.time(), str(found.digest))
            if connection.execute("UPDATE images SET pulled = ? WHERE digest = ?", row).rowcount != 1:
                return None
            for name in names:
                self.images.name(connection, name, platform, found.digest)
        return self.images.load(found.digest)

    async def _config(self, source: ImageSource, found: ResolvedImage) -> bytes:
        descriptor = found.manifest.config
        known = self.images.document(descriptor.digest)
        if known is not None:
            return known
        body = bytearray()
        async with source.open_blob(found, descriptor) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > descriptor.size:
                    break
        if (
            len(body) != descriptor.size
            or Digest.of(bytes(body), descriptor.digest.algorithm) != descriptor.digest
        ):
            raise Corrupt(
                f"the configuration of {found.reference} is not what its manifest says ({descriptor.digest})",
                hint="try again; if it stays, the image is damaged where it comes from",
            )
        return bytes(body)

    @asynccontextmanager
    async def _holding(self, diff_ids: tuple[Digest, ...]) -> AsyncGenerator[None]:
        lease = pull_lease(secrets.token_hex(8))
        self.leases.begin(lease, diff_ids, present=False)
        try:
            yield
        finally:
            self.leases.end(lease.key)

    def _record(
        self,
        found: ResolvedImage,
        config: ImageConfig,
        config_bytes: bytes,
        names: tuple[Reference, ...],
        platform: Platform,
    ) -> None:
        chain = chain_id(config.diff_ids)
        record = Record(
            digest=found.digest,
            manifest=found.manifest_bytes,
            config=found.manifest.config.digest,
            config_bytes=config_bytes,
            root=f"{chain.algorithm}-{chain.hex}",
            platform=config.platform,
            diff_ids=config.diff_ids,
            pulled=time.time(),
        )
        with self.images.database.transaction(durable=True) as connection:
            self.images.record(connection, record)
            for name in names:
                self.images.name(connection, name, platform, found.digest)
            self.checkpoint("image-recording")
        self.checkpoint("image-recorded")


@define(eq=False)
class _Job:
    """The layers of one image on their way."""

    puller: Puller
    source: ImageSource
    found: ResolvedImage
    limits: Limits
    listener: Listener
    session: Session | None
    _size: int = field(default=0, init=False)

    async def layers_in(self, diff_ids: tuple[Digest, ...]) -> None:
        """Return when every layer is visible; several are transferred at once."""
        slots = asyncio.Semaphore(self.limits.parallel)
        pairs = list(zip(self.found.manifest.layers, diff_ids, strict=True))
        with ThreadPoolExecutor(self.limits.parallel * THREADS, "monocore-layer") as executor:
            try:
                async with asyncio.TaskGroup() as group:
                    for descriptor, diff_id in pairs:
                        group.create_task(self._layer(descriptor, diff_id, slots, executor))
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None

    async def _layer(
        self, descriptor: Descriptor, diff_id: Digest, slots: asyncio.Semaphore, executor: ThreadPoolExecutor
    ) -> None:
        images = self.puller.images
        existed = images.layer(diff_id) is not None
        if not existed:
            what = f"layer {descriptor.digest.short}"
            async with (
                self.puller.locks.hold(
                    layer_lock(diff_id), patience=self.limits.patience, what=what, listener=self.listener
                ),
                slots,
            ):
                existed = images.layer(diff_id) is not None
                if not existed:
                    await self._transfer(descriptor, diff_id, executor)
        self.listener(LayerDone(descriptor.digest, diff_id, existed))

    async def _transfer(self, descriptor: Descriptor, diff_id: Digest, executor: ThreadPoolExecutor) -> None:
        images, checkpoint = self.puller.images, self.puller.checkpoint
        temporary = images.layout.temporary(Owner.current())
        spec = LayerSpec(descriptor, diff_id, self._spend)
        try:
            async with self._worker() as worker, self.source.open_blob(self.found, descriptor) as chunks:
                size = await ingest(
                    chunks,
                    spec,
                    temporary,
                    limits=self.limits,
                    executor=executor,
                    progress=lambda received: self.listener(
                        LayerProgress(descriptor.digest, received, descriptor.size)
                    ),
                    worker=worker,
                )
            checkpoint("layer-written")
            target = images.layout.layer(diff_id)
            with storage_errors(f"store layer {diff_id}"):
                target.parent.mkdir(mode=0o700, exist_ok=True)
                os.chmod(temporary, 0o400)  # noqa: PTH101
                publish(temporary, target)
        finally:
            remove_tree(temporary)
        checkpoint("layer-renamed")
        with images.database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO layers VALUES (?, ?)", (str(diff_id), size))
        checkpoint("layer-recorded")

    @asynccontextmanager
    async def _worker(self) -> AsyncGenerator[Worker | None]:
        if self.session is None:
            yield None
            return
        async with self.session.worker() as worker:
            yield worker

    def _spend(self, size: int) -> None:
        self._size += size
        if self._size > self.limits.image:
            raise LimitExceeded(
                f"image {self.found.reference} is larger than {self.limits.image} bytes uncompressed"
            )


def _check_manifest(found: ResolvedImage, limits: Limits) -> None:
    """Refuse what cannot become an image, before anything is transferred."""
    what, manifest = f"image {found.reference}", found.manifest
    if Digest.of(found.manifest_bytes, found.digest.algorithm) != found.digest:
        raise Corrupt(f"{what}: its manifest is not what its digest {found.digest} says")
    if manifest.config.media_type not in CONFIG_TYPES:
        raise Unsupported(
            f"{what} is not a container image: its configuration is {manifest.config.media_type!r}"
        )
    if manifest.config.size > MAX_DOCUMENT:
        raise LimitExceeded(f"{what}: its configuration is larger than {MAX_DOCUMENT} bytes")
    if len(manifest.layers) > limits.layers:
        raise LimitExceeded(f"{what} has {len(manifest.layers)} layers (at most {limits.layers} are taken)")
    for layer in manifest.layers:
        if layer.media_type not in LAYER_COMPRESSION:
            raise Unsupported(
                f"{what}: its layer {layer.digest.short} is of an unknown type, {layer.media_type!r}"
            )


def _check_config(found: ResolvedImage, config: ImageConfig, platform: Platform) -> None:
    """Refuse a configuration that is not of this manifest or platform."""
    what = f"image {found.reference}"
    if len(config.diff_ids) != len(found.manifest.layers):
        raise Corrupt(
            f"{what}: its manifest has {len(found.manifest.layers)} layers, its configuration {len(config.diff_ids)}"
        )
    if found.platform is None or not suits(found.platform, platform):
        check_platform(config, platform, what)
    else:  # the index knows the variant better than many a configuration
        check_platform(config, Platform(platform.os, platform.architecture), what)
