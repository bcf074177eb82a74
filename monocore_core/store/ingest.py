"""One layer on its way into the store: compressed chunks in, a verified, synced file out, in one pass.

Stages with short queues between them, so that two processor cores are busy at once. With a worker (:mod:`monocore_core.unpacking`)::

    source (event loop) ──chunks──▶ hash and send (thread) ══▶ worker ══▶ receive (thread) ──blocks──▶ hash and write (thread)

and without::

    source (event loop) ──chunks──▶ inflate (thread) ──blocks──▶ hash both sides and write (thread)

Beside them another thread syncs what is written, so that little is left to be synced at the end. hashlib, isal and write release the interpreter's lock for large blocks. Cancellation waits for the one block that is at work,
milliseconds, and leaves a temporary file that the caller deletes.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import define, field, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.inflate import BLOCK, SniffingInflater, is_zeros
from monocore_core.model.digest import Digest, Hasher
from monocore_core.model.oci import Descriptor
from monocore_core.store.atomic import start_writeback, storage_errors, sync_data
from monocore_core.store.limits import Limits
from monocore_core.unpacking.process import Worker

#: Compressed bytes that are collected before a thread is bothered with them.
BATCH = 512 * 1024
#: That one layer keeps busy.
THREADS = 4
#: Batches and steps in a queue between two stages.
_DEPTH = 3
#: Bytes after which the kernel is told to write them, and after which they are synced meanwhile: what waits in a disk's own cache, nobody
#: has then to wait for at the end.
_WRITEBACK, _SYNC = 16 * 1024 * 1024, 64 * 1024 * 1024
#: Blocks that are under way between a worker and the file.
_ROOMS = _DEPTH + 3


@frozen
class LayerSpec:
    """What is known of a layer before it comes.

    Attributes:
        descriptor: of the compressed blob.
        diff_id: that the image's configuration claims for it.
        budget: takes the number of further uncompressed bytes, and raises when the image has too many.
    """

    descriptor: Descriptor
    diff_id: Digest
    budget: Callable[[int], None]


@frozen
class _Step:
    """Compressed bytes to hash, and blocks to hash and write."""

    received: bytes
    blocks: tuple[bytes | memoryview, ...]


@define(eq=False)
class _Sink:
    """The temporary file and both hashes."""

    fd: int
    compressed: Hasher | None
    uncompressed: Hasher
    size: int = 0
    _hole: bool = field(default=False, init=False)
    _begun: int = field(default=0, init=False)

    def take(self, step: _Step) -> None:
        """Hash and write. Blocks of zeros become holes, so that a bomb of zeros takes no space."""
        self.took(step.received)
        for block in step.blocks:
            self.uncompressed.update(block)
            self._hole = is_zeros(block)
            if not self._hole:
                _write(self.fd, block, self.size)
            self.size += len(block)
        if self.size - self._begun >= _WRITEBACK:
            start_writeback(self.fd, self._begun, self.size - self._begun)
            self._begun = self.size

    def took(self, received: bytes) -> None:
        """Hash compressed bytes."""
        if received and self.compressed is not None:
            self.compressed.update(received)

    def finish(self) -> None:
        """Give the file its full length and make it survive a power loss."""
        if self._hole:
            os.ftruncate(self.fd, self.size)
        os.fsync(self.fd)


def _write(fd: int, block: bytes | memoryview, position: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(fd, view, position)
        view, position = view[written:], position + written


async def ingest(
    chunks: AsyncIterator[bytes],
    spec: LayerSpec,
    temporary: Path,
    *,
    limits: Limits,
    executor: Executor,
    progress: Callable[[int], None],
    worker: Worker | None = None,
) -> int:
    """Write the layer of ``chunks`` to the fresh file ``temporary``, verified and synced; gives its size in bytes.

    After any error or cancellation ``temporary`` may exist, incomplete; the caller deletes it.

    Args:
        chunks: the blob as the source has it.
        spec: what it must be.
        temporary: where to write.
        limits: of one layer.
        executor: with :data:`THREADS` free threads.
        progress: receives the number of compressed bytes so far.
        worker: decompresses; None: we do. After an error or a cancellation it is of no more use.

    Raises:
        Corrupt: a digest or a length is wrong, or the compressed data is damaged.
        LimitExceeded: it becomes too large.
        StorageError: the disk refuses.
    """
    what = f"write layer {spec.diff_id}"
    with storage_errors(what):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        plain = spec.descriptor.digest == spec.diff_id  # not compressed: one hash says it all
        sink = _Sink(fd, None if plain else spec.descriptor.digest.hasher(), spec.diff_id.hasher())
        pipeline = _Pipeline(spec, limits, executor, sink, what)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pipeline.receive(chunks, progress))
                if worker is None or plain:
                    group.create_task(pipeline.inflate())
                else:
                    group.create_task(pipeline.send(worker))
                    group.create_task(pipeline.take(worker))
                group.create_task(pipeline.store())
                group.create_task(pipeline.sync())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        with _naming(spec):
            _verify(spec, sink)
        with storage_errors(what):
            await in_thread(sink.finish, executor)
        return sink.size
    finally:
        os.close(fd)


@define(eq=False)
class _Pipeline:
    """The stages. None in a queue is the end."""

    spec: LayerSpec
    limits: Limits
    executor: Executor
    sink: _Sink
    what: str
    _sent: int = field(default=0, init=False)
    _synced: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)
    _written: asyncio.Event = field(factory=asyncio.Event, init=False)
    _batches: asyncio.Queue[bytes | None] = field(
        factory=lambda: asyncio.Queue[bytes | None](_DEPTH), init=False
    )
    _steps: asyncio.Queue[_Step | None] = field(
        factory=lambda: asyncio.Queue[_Step | None](_DEPTH), init=False
    )

    async def receive(self, chunks: AsyncIterator[bytes], progress: Callable[[int], None]) -> None:
        """Collect chunks to batches, and count them."""
        expected, received = self.spec.descriptor.size, 0
        pending: list[bytes] = []
        waiting = 0
        async for chunk in chunks:
            received += len(chunk)
            waiting += len(chunk)
            if received > expected:
                with _naming(self.spec):
                    raise Corrupt(f"it has more than the {expected} bytes that its manifest says")
            pending.append(chunk)
            if waiting >= BATCH:
                await self._batches.put(b"".join(pending))
                progress(received)
                pending, waiting = [], 0
        if received != expected:
            with _naming(self.spec):
                raise Corrupt(f"it has {received} bytes, but its manifest says {expected}")
        if pending:
            await self._batches.put(b"".join(pending))
        progress(received)
        await self._batches.put(None)

    async def inflate(self) -> None:
        """Batches to steps."""
        inflater, received, size = SniffingInflater(), 0, 0
        while (batch := await self._batches.get()) is not None:
            received += len(batch)
            blocks, first = inflater.feed(batch), batch
            while True:
                with _naming(self.spec):
                    taken = await in_thread(partial(_take, blocks), self.executor)
                    more = sum(map(len, taken))
                    size += more
                    self.limits.check_layer(size, received)
                self.spec.budget(more)
                await self._steps.put(_Step(first, taken))
                if more < BLOCK:
                    break
                first = b""
        with _naming(self.spec):
            inflater.finish()
        await self._steps.put(None)

    async def send(self, worker: Worker) -> None:
        """Batches to a worker."""

        def passed_on(batch: bytes) -> None:
            self.sink.took(batch)
            worker.send(batch)

        while (batch := await self._batches.get()) is not None:
            self._sent += len(batch)
            await in_thread(partial(passed_on, batch), self.executor, stop=worker.kill)
        await in_thread(worker.finish, self.executor, stop=worker.kill)

    async def take(self, worker: Worker) -> None:
        """What the worker makes of them to steps."""
        rooms: deque[bytearray] = deque(maxlen=_ROOMS)
        size = 0
        while True:
            # the oldest one: its block has been written, as no more than the queue holds wait, beside one at each of its ends
            rooms.append(rooms.popleft() if len(rooms) == _ROOMS else bytearray(BLOCK))
            with _naming(self.spec):
                block = await in_thread(partial(worker.receive, rooms[-1]), self.executor, stop=worker.kill)
                size += len(block)
                self.limits.check_layer(size, self._sent)
            if not block:
                break
            self.spec.budget(len(block))
            await self._steps.put(_Step(b"", (block,)))
        await self._steps.put(None)

    async def store(self) -> None:
        """Steps to the file."""
        while (step := await self._steps.get()) is not None:
            with storage_errors(self.what):
                await in_thread(partial(self.sink.take, step), self.executor)
            if self.sink.size - self._synced >= _SYNC:
                self._written.set()
        self._ended = True
        self._written.set()

    async def sync(self) -> None:
        """Sync what is written, beside everything else, but for the end."""
        while True:
            await self._written.wait()
            if self._ended:
                return
            self._written.clear()
            self._synced = self.sink.size
            with storage_errors(self.what):
                await in_thread(partial(sync_data, self.sink.fd), self.executor)


def _take(blocks: Iterator[bytes]) -> tuple[bytes, ...]:
    """Blocks of at least ``BLOCK`` bytes together; fewer only when there are no more."""
    taken: list[bytes] = []
    size = 0
    for block in blocks:
        taken.append(block)
        size += len(block)
        if size >= BLOCK:
            break
    return tuple(taken)


@contextmanager
def _naming(spec: LayerSpec) -> Generator[None]:
    """Say which layer it is of which the block complains."""
    try:
        yield
    except Corrupt as error:
        hint = "try again; if it stays, the image is damaged where it comes from"
        raise Corrupt(f"layer {spec.descriptor.digest}: {error.brief}", hint=error.hint or hint) from error
    except LimitExceeded as error:
        raise LimitExceeded(f"layer {spec.descriptor.digest}: {error.brief}", hint=error.hint) from error


def _verify(spec: LayerSpec, sink: _Sink) -> None:
    if sink.compressed is None and sink.size != spec.descriptor.size:
        raise Corrupt(
            "it is compressed, but has the digest that its configuration gives the uncompressed layer"
        )
    if sink.compressed is not None:
        found = sink.compressed.hexdigest()
        if found != spec.descriptor.digest.hex:
            raise Corrupt(f"its bytes have the digest {spec.descriptor.digest.algorithm}:{found}")
    found = sink.uncompressed.hexdigest()
    if found != spec.diff_id.hex:
        raise Corrupt(
            f"its uncompressed bytes have the digest {spec.diff_id.algorithm}:{found}, but the image's configuration "
            f"says {spec.diff_id}"
        )
