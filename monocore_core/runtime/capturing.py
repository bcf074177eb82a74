"""A sandbox that runs, captured: its processes are held, its machine is stopped, memory and disk are copied, and it goes on.

Its processes notice nothing but the time. Whatever happens meanwhile, they go on: here, or, when this process dies, where the next one finds the sandbox
(:meth:`monocore_core.assembly.Assembly.adopt`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from attrs import define, frozen

from monocore_core.concurrency import in_thread
from monocore_core.errors import Conflict, MonocoreError, Unsupported
from monocore_core.guest.client import Guest
from monocore_core.interfaces.vmm import Snapshot, SnapshotMachine
from monocore_core.model.guest import GuestRenewal
from monocore_core.model.image import Image
from monocore_core.model.rootfs import DirectoryRoot
from monocore_core.origin import Origin
from monocore_core.plan.choose import Plan
from monocore_core.runtime.life import Life
from monocore_core.store.facade import SCRATCH_NAME
from monocore_core.store.owner import Owner
from monocore_core.store.scratch import take_disk


@frozen
class Moment:
    """What a sandbox was like.

    Attributes:
        plan: the backends with which it runs.
        image: of which it was made.
        label: by which its guest knows its command.
        snapshot: of its machine.
        disk: file with what its writable disk had, or None.
    """

    plan: Plan
    image: Image
    label: str
    snapshot: Snapshot
    disk: Path | None

    @property
    def origin(self) -> Origin:
        """What others begin from, each a machine of its own."""
        return Origin(self.plan, self.image, self.label, self.snapshot, self.disk)


@asynccontextmanager
async def captured(life: Life, *, going_on: bool = True) -> AsyncGenerator[Moment]:
    """What a sandbox is like now, for as long as the context lasts.

    Args:
        life: of the sandbox.
        going_on: the sandbox has gone on when the context begins; else it does at the context's end, unless it was ended in it.

    Raises:
        Unsupported: it cannot be captured, and why. Conflict: it is paused, or ends.
        MachineError, GuestError: the machine has ended; its processes do not stand still. StorageError: the disk refuses.
    """
    async with AsyncExitStack() as stack, _held(life) as held:
        moment = await _capture(life, held.machine, stack)
        if going_on:
            await held.release()
        yield moment


async def _capture(life: Life, machine: SnapshotMachine, stack: AsyncExitStack) -> Moment:
    """The machine stands still for that, and goes on, with its processes still held."""
    record, store = life.record, life.run.engine.store
    disk = None if record.order.sandbox.disk is None else store.layout.temporary(Owner.current())
    if disk is not None:
        stack.callback(disk.unlink, missing_ok=True)
    try:
        await machine.pause()
        snapshot = await machine.snapshot()
        stack.callback(snapshot.close)
        if disk is not None:
            await _copied(store.layout.sandbox(record.id) / SCRATCH_NAME, disk)
    finally:
        await asyncio.shield(asyncio.ensure_future(_resume(machine)))
    return Moment(life.sandbox.plan, life.sandbox.image, record.guest_label, snapshot, disk)


async def _copied(source: Path, target: Path) -> None:
    await in_thread(lambda: take_disk(source, target))


@define
class _Held:
    """A sandbox whose processes stand still, but for its agent."""

    machine: SnapshotMachine
    guest: Guest
    _free: bool = False

    async def release(self) -> None:
        """Let them go on. A repeat does nothing."""
        if self._free:
            return
        self._free = True
        with suppress(MonocoreError):  # it has ended meanwhile, and its life says so
            await self.guest.release(GuestRenewal(time.time_ns()))


@asynccontextmanager
async def _held(life: Life) -> AsyncGenerator[_Held]:
    machine, guest, name = life.sandbox.machine, life.sandbox.guest, life.record.name
    if not isinstance(machine, SnapshotMachine):
        raise Unsupported(
            f"sandbox {name} cannot be captured",
            hint=f"{life.sandbox.plan.vmm} has no snapshots; vmm_qemu has",
        )
    if life.record.order.sandbox.volumes or isinstance(life.sandbox.root, DirectoryRoot):
        what = "it has volumes" if life.record.order.sandbox.volumes else "its root is a folder of the host"
        raise Unsupported(
            f"sandbox {name} cannot be captured: {what}, and what the process knows that serves folders cannot be captured with it",
            hint="copy what it needs into it instead: monocore cp",
        )
    async with life.pausing:
        if not life.awake.is_set():
            raise Conflict(f"sandbox {name} is paused", hint=f"monocore unpause {name}")
        if life.ended.done():
            raise Conflict(f"sandbox {name} is ending")
        held = _Held(machine, guest)
        try:
            await guest.hold()
            yield held
        finally:
            await asyncio.shield(asyncio.ensure_future(held.release()))


async def _resume(machine: SnapshotMachine) -> None:
    with suppress(MonocoreError):
        await machine.resume()
