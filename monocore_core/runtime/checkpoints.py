"""Checkpoints: a running sandbox written to disk, to go on from there later, any number of times.

Unlike a copy (:mod:`.forking`) what goes on is the sandbox itself, with its name, addresses and machine id; only the randomness is renewed, since a
checkpoint may be gone on from more than once.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from monocore_core.concurrency import in_thread
from monocore_core.errors import Conflict, Corrupt
from monocore_core.model.checkpoint import Checkpoint
from monocore_core.model.events import Listener, ignore
from monocore_core.model.record import Placement, SandboxState
from monocore_core.origin import Origin
from monocore_core.runtime.begin import plan_with
from monocore_core.runtime.capturing import Moment, captured
from monocore_core.runtime.life import Life
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.store.atomic import storage_errors
from monocore_core.store.checkpoints import MACHINE, Checkpoints
from monocore_core.store.facade import SCRATCH_NAME


async def checkpoint(sandboxes: Sandboxes, text: str, name: str, *, leave_running: bool) -> Checkpoint:
    """Write a running sandbox to disk; then end it, or let it run on.

    It stands still while its memory is copied; one that is not to run on, until all is written, and does nothing after that.
    Failure, cancellation and the death of this process: it runs on, and there is no checkpoint.

    Args:
        sandboxes: of the home.
        text: the sandbox's name, id, or the beginning of its id.
        name: of the checkpoint.
        leave_running: do not end it.

    Raises:
        NotFound: there is no such sandbox. InvalidInput: that cannot be a checkpoint's name. LimitExceeded: it has many.
        Conflict: it does not run, or has a checkpoint of that name, or is removed when it ends.
        Unsupported, MachineError, GuestError, StorageError: as :func:`.capturing.captured`.
    """
    life = sandboxes.life(text)
    record, kept = life.record, life.run.engine.store.checkpoints
    if record.order.remove:
        raise Conflict(
            f"sandbox {record.name} is removed when it ends, and its checkpoints with it",
            hint="start it without --rm",
        )
    with life.used(), kept.making(record.id, name) as folder:
        async with captured(life, going_on=leave_running) as moment:
            made = await in_thread(lambda: _write(kept, folder, life, moment, name))
            if not leave_running:
                await life.stop(0, number=signal.SIGKILL)
    if not leave_running:
        await asyncio.shield(life.over)
    sandboxes.book.tell(record, "checkpointed", {"checkpoint": name})
    return made


async def start_from(sandboxes: Sandboxes, text: str, name: str, listener: Listener = ignore) -> Life:
    """Have a sandbox that does not run go on where a checkpoint of it was made. The checkpoint stays.

    Its writable disk is the checkpoint's; what it wrote since then is lost.

    Raises:
        NotFound: there is no such sandbox, or checkpoint, or its image was removed. Conflict: it runs.
        Unsupported: monocore, QEMU, the host's kernel or what is asked of the sandbox has changed since.
        Corrupt: the checkpoint is damaged. MachineError, GuestError …: as starting says.
    """
    record = sandboxes.get(text)
    if record.state is not SandboxState.EXITED:
        raise Conflict(
            f"sandbox {record.name} is {record.state.value} already",
            hint=f"wait for its end: monocore wait {record.name}"
            if record.state is SandboxState.ENDING
            else f"stop it before: monocore stop {record.name}",
        )
    kept = (await sandboxes.engines.base()).store.checkpoints
    found, path = await in_thread(lambda: (kept.get(record.id, name), kept.path(record.id, name)))
    disk, size = path / SCRATCH_NAME, record.order.sandbox.disk
    if size is not None:
        await in_thread(lambda: _check_disk(disk, size))
    origin = Origin(
        plan_with(found.placement),
        found.image,
        found.label,
        path / MACHINE,
        disk if size is not None else None,
        other=False,
    )
    return await sandboxes.start(record.id, listener=listener, origin=origin)


def _check_disk(disk: Path, size: int) -> None:
    """A disk that is shorter than it was would be met by the guest's kernel only, in the midst of its work."""
    with storage_errors(f"read the disk {disk}"):
        found = disk.stat().st_size
    if found != size:
        raise Corrupt(
            f"{disk}: it has {found} bytes, and not the {size} that were written",
            hint="start it without the checkpoint, and make another",
        )


def _write(kept: Checkpoints, folder: Path, life: Life, moment: Moment, name: str) -> Checkpoint:
    with storage_errors(f"write checkpoint {name}"):
        moment.snapshot.save(folder / MACHINE)
        if moment.disk is not None:
            moment.disk.rename(folder / SCRATCH_NAME)
    plan = moment.plan
    placement = Placement(plan.image_source, plan.layer_merger, plan.network, plan.vmm)
    made = Checkpoint(name, moment.image, placement, moment.label, created=time.time())
    return kept.keep(folder, life.record.id, made)
