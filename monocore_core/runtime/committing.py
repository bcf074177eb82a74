"""Images of sandboxes. A sandbox that runs is asked; one that has ended and kept a disk is given a machine for as long as it takes.

The disk is never read by the host's kernel, nor by us: the guest wrote it, and the machine in which it is read is as confined as the one in which
it was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from attrs import evolve

from monocore_core.engine import Engine
from monocore_core.errors import Conflict, InvalidInput, MonocoreError
from monocore_core.guest.client import Guest
from monocore_core.model.image import Image
from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.model.sandbox import PullPolicy
from monocore_core.ocidoc.derive import Commit, check_commit
from monocore_core.reference import Reference
from monocore_core.runtime.begin import plan_of
from monocore_core.runtime.sandboxes import Sandboxes

#: Seconds that a guest has to leave the disk clean.
_SYNC = 10.0
_Take = Callable[[Guest, Image], Awaitable[Image]]


async def commit(sandboxes: Sandboxes, text: str, name: str, said: Commit) -> Image:
    """An image of what a sandbox has changed of its own, over its image.

    Files are taken one after the other; what runs in the sandbox goes on, and may write between two. What is mounted is no part of it: volumes,
    tmpfs, and ``/etc/hostname``, ``hosts`` and ``resolv.conf``, which each sandbox has of its own. The image's configuration is that of the sandbox's image with
    the changes in ``said``; the sandbox's own command and variables, which may be secrets, are no part of it.

    Args:
        sandboxes: of the home.
        text: the sandbox's name, id, or the beginning of its id.
        name: of the new image, or "".
        said: of it.

    Raises:
        InvalidInput: the name is no reference of the store, or a change makes no sense.
        NotFound: there is no such sandbox, or its image was removed. Conflict: it is paused, or nothing is left of what it wrote.
        GuestError, LimitExceeded: its layer cannot be taken. StorageError: the disk refuses.
    """
    check_commit(said)
    record = sandboxes.get(text)
    if record.state is SandboxState.EXITED and record.order.sandbox.disk is not None:
        engine = await sandboxes.engines.of(record.order.settings)
        take = _taker(engine, record, said, _names(engine, name))
        async with _machine_for(sandboxes, engine, record) as (guest, image):
            return await take(guest, image)
    if not record.state.live:
        raise Conflict(
            f"nothing is left of what sandbox {record.name} wrote: it was in its memory",
            hint="commit it while it runs, or give it a disk: monocore run --disk 1g",
        )
    life = sandboxes.life(text)
    take = _taker(life.run.engine, record, said, _names(life.run.engine, name))
    with life.used():
        return await take(life.sandbox.guest, life.sandbox.image)


def _taker(engine: Engine, record: SandboxRecord, said: Commit, names: tuple[Reference, ...]) -> _Take:
    async def take(guest: Guest, image: Image) -> Image:
        async with aclosing(guest.read_changes()) as chunks:
            platform = record.order.sandbox.platform
            return await engine.store.commit(image, chunks, said, platform, names=names)

    return take


def _names(engine: Engine, name: str) -> tuple[Reference, ...]:
    if not name:
        return ()
    reference = engine.reference(name)
    if reference.digest is not None or reference.scheme:
        raise InvalidInput(
            f"{name[:200]!r} cannot be an image's name",
            hint="give NAME or NAME:TAG, as in monocore commit web shop:2",
        )
    return (reference,)


@asynccontextmanager
async def _machine_for(
    sandboxes: Sandboxes, engine: Engine, record: SandboxRecord
) -> AsyncGenerator[tuple[Guest, Image]]:
    """A machine with the disk of a sandbox that has ended, without command, network or volumes. Meanwhile it counts as one that starts."""
    async with sandboxes.book.lock(record):
        record = sandboxes.book.now(record)
        if record.state is not SandboxState.EXITED or record.image is None:
            raise Conflict(f"sandbox {record.name} is {record.state.value} by now", hint="try again")
        request = evolve(
            record.order.sandbox,
            image=str(record.image.digest),
            pull=PullPolicy.NEVER,
            name=record.name,
            network=None,
            volumes=(),
        )
        sandboxes.book.save(evolve(record, state=SandboxState.STARTING))
        try:
            sandbox = await engine.launch(record.id, request)
            try:
                yield sandbox.guest, sandbox.image
            finally:
                await asyncio.shield(asyncio.ensure_future(_end(engine, sandbox.guest, record)))
        finally:
            sandboxes.book.save(record)


async def _end(engine: Engine, guest: Guest, record: SandboxRecord) -> None:
    with suppress(MonocoreError, TimeoutError):
        async with asyncio.timeout(_SYNC):
            await guest.shutdown(grace=0)
    await guest.aclose()
    await engine.discard(record.id, plan_of(record), folder=False)
