"""What a new machine goes on as, in place of a boot: a snapshot of another, in memory or in a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Unsupported
from monocore_core.interfaces.vmm import Machine, Snapshot, SnapshotVmm, Vmm
from monocore_core.model.guest import GuestRenewal, GuestSetup
from monocore_core.model.image import Image
from monocore_core.model.machine import MachineSpec
from monocore_core.plan.choose import Plan


async def at_once() -> None:
    """Nobody is waited for."""


@frozen
class Origin:
    """A machine that a new one goes on as, in place of a boot.

    Attributes:
        plan: the backends with which it ran.
        image: of which it was made.
        label: by which its guest knows its command.
        snapshot: of it, which stays its holder's; or the file to which one was saved.
        disk: file with what its writable disk had then, or None; a copy of it is made.
        other: the new one is another machine, with an identity of its own.
        ready: awaited when it is whom it is to be, before its processes go on.
    """

    plan: Plan
    image: Image
    label: str
    snapshot: Snapshot | Path
    disk: Path | None = None
    other: bool = True
    ready: Callable[[], Awaitable[None]] = at_once

    async def restore(self, vmm: Vmm, spec: MachineSpec) -> Machine:
        """Start ``spec`` as what the snapshot is of. One that is in a file is loaded for as long as that takes.

        Raises:
            Unsupported: the VMM restores none.
            MonocoreError: as :meth:`.SnapshotVmm.load_snapshot` and :meth:`.SnapshotVmm.restore`.
        """
        if not isinstance(vmm, SnapshotVmm):
            raise Unsupported("the VMM restores no snapshots")
        if not isinstance(self.snapshot, Path):
            return await vmm.restore(spec, self.snapshot)
        loaded = await vmm.load_snapshot(spec, self.snapshot)
        try:
            return await vmm.restore(spec, loaded)
        finally:
            loaded.close()

    def renewal(self, setup: GuestSetup) -> GuestRenewal:
        """What its guest is told of whom it is from now on; its processes are held until it is told the time again. Pure."""
        return GuestRenewal(
            setup.time_ns, setup.entropy, setup.hostname, setup.network, self.other, held=True
        )
