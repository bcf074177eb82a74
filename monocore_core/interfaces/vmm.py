"""What runs a virtual machine.

A VMM starts a machine from a :class:`~monocore_core.model.machine.MachineSpec`: a process on the host, and a byte channel to
the agent inside (the virtio-serial port named :data:`~monocore_core.model.machine.AGENT_PORT`). It finds the guest kernel
itself, since kernels and monitors come in pairs, and boots it with ``root=`` on ``spec.boot`` and ``init=/init``.

The VMM knows nothing of images or processes in the guest; the guest client above speaks through the channel.

Templates: a VMM whose capabilities say ``templates`` may, in :meth:`Vmm.start`, make the machine a copy of a captured one that has booted
already and belongs to nobody. To the caller nothing differs but the time that it takes: the agent is there, waits to be set up, and
makes the machine an individual then, for which it needs the entropy of :class:`~monocore_core.model.guest.GuestSetup`. How a machine
began is told as a :class:`~monocore_core.model.events.Began` event. Templates are made by :class:`TemplateVmm`'s ``prepare``, which whoever has
time to spare calls, with the specification of a machine that was started: a start never makes one, nor waits for one.

A VMM may go further and keep such copies ready, see :class:`StockingVmm`.

Worked example::

    async with provider.create(host, options) as vmm:
        machine = await vmm.start(spec)
        channel = await machine.connect()
        ...
        await machine.stop(grace=5)
        await vmm.remove(spec.key)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from monocore_core.model.machine import MachineExit, MachineSpec, Spare
from monocore_core.model.security import Layer


class GuestChannel(Protocol):
    """A connected byte stream to the agent's port; full duplex, ordered, without message boundaries."""

    async def read(self, limit: int) -> bytes:
        """Up to ``limit`` bytes, at least one; ``b""`` when the machine closed its side."""
        ...

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        """Send chunks, one after the other, and wait while the transport's buffer is full.

        Raises:
            MachineError: the machine is gone.
        """
        ...

    async def aclose(self) -> None:
        """Close our side. A repeat does nothing."""
        ...


class Machine(Protocol):
    """One running, or ended, virtual machine."""

    @property
    def key(self) -> str:
        """Of the specification."""
        ...

    @property
    def pid(self) -> int:
        """Process id of the VMM on the host."""
        ...

    async def connect(self) -> GuestChannel:
        """Open the channel to the agent, once it listens. One channel at a time: an earlier one is closed.

        Raises:
            MachineError: the machine ended, with its last words.
            DeadlineExceeded: no agent within ``spec.boot_timeout``.
        """
        ...

    async def wait(self) -> MachineExit:
        """Wait until the machine has ended. May be called by many and again; gives the same value."""
        ...

    async def stop(self, grace: float) -> MachineExit:
        """End the machine: ask the VMM to quit, and kill it after ``grace`` seconds. The guest is asked by the caller before.

        After an end it only reports. Cancellation: the machine is killed.
        """
        ...

    async def kill(self) -> MachineExit:
        """End the machine at once."""
        ...


@runtime_checkable
class Confined(Protocol):
    """A machine that knows what confines its process; see :mod:`monocore_core.jail`."""

    @property
    def layers(self) -> frozenset[Layer]:
        """Which layers of a jail its process is in."""
        ...


@runtime_checkable
class Settled(Protocol):
    """A machine that may have come of a spare of its role (:meth:`StockingVmm.stock`), or of a template of it (:meth:`SettlingVmm.prepare_role`)."""

    @property
    def settled(self) -> bool:
        """Whether its guest was set up before: it is told who it is (RELEASE), in place of what it is to be (SETUP)."""
        ...


class Vmm(Protocol):
    """Runs machines. Methods may run concurrently."""

    async def start(self, spec: MachineSpec) -> Machine:
        """Start a machine; returns when its process runs (not when the guest has booted).

        A key that runs already: Conflict. Partial failure and cancellation: no process remains.

        Raises:
            Unsupported: the specification is beyond the VMM's capabilities.
            MachineError: the process could not be started, with the call and its error.
        """
        ...

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        """Find the machine that an earlier process started for ``spec.key``, when it still runs.

        A repeat gives the same one. Who only looks for it need not know more of it than its key and its folder; what it is to be captured as, the last
        ``spec`` says.
        """
        ...

    async def remove(self, key: str) -> None:
        """Remove what the VMM keeps for an ended machine. An unknown key is not an error; a running one: Conflict."""
        ...


@runtime_checkable
class PausableMachine(Machine, Protocol):
    """A machine of a VMM with ``pausable`` among its capabilities. An adopted one may be paused: :meth:`resume` is harmless where it is not."""

    async def pause(self) -> None:
        """Stop its processors. Memory, disks, the network and open channels stay as they are; nothing in the guest runs, or answers.

        A repeat does nothing. A paused machine can be stopped and killed like any other.

        Raises:
            MachineError: the machine has ended, or its VMM does not do it.
        """
        ...

    async def resume(self) -> None:
        """Let it run on. The guest's wall clock stood still: whoever paused it puts it right. One that runs: nothing happens.

        Raises:
            MachineError: as :meth:`pause`.
        """
        ...


class Snapshot(Protocol):
    """A machine as it was: its memory and the state of its devices, immutable. Its disks are the caller's.

    It holds host memory until :meth:`close`, and as long as machines run that were restored from it.
    """

    def save(self, path: Path) -> None:
        """Write it to the fresh file ``path``, synced. Blocks, for as long as its memory takes to be written.

        Raises:
            StorageError: the disk refuses; what is there by then is the caller's to remove.
        """
        ...

    def close(self) -> None:
        """Let go of it. A repeat does nothing."""
        ...


@runtime_checkable
class SnapshotMachine(PausableMachine, Protocol):
    """A machine of a VMM with ``snapshots`` among its capabilities."""

    async def snapshot(self) -> Snapshot:
        """What it is like now. It must be paused, stays so, and is not changed in any way. Failure and cancellation leave nothing.

        Raises:
            Unsupported: a device of it cannot be captured, with which; or what it runs with has been replaced since it was started.
            MachineError: it has ended, or its memory cannot be had.
        """
        ...


@runtime_checkable
class SnapshotVmm(Vmm, Protocol):
    """A VMM with ``snapshots`` among its capabilities."""

    async def restore(self, spec: MachineSpec, snapshot: Snapshot) -> Machine:
        """As :meth:`Vmm.start`, a machine that goes on where the snapshot was taken, any number of them: each has its memory copy on write.

        Args:
            spec: as that of the machine that was captured, but for key, folder, files, addresses and console. Its disks must hold what they held.
            snapshot: of a machine of this VMM.
        """
        ...

    async def load_snapshot(self, spec: MachineSpec, path: Path) -> Snapshot:
        """One that was saved, checked by its checksum, of a machine like ``spec``.

        Raises:
            NotFound: there is none. Unsupported: the programs, the kernel, the agent, the devices or the host are not what they were. Corrupt: it is not what was written. StorageError: it cannot be read.
        """
        ...


#: Shakes hands with the agent on a channel, and closes it. Raises a MonocoreError when the agent does not answer.
Greeter = Callable[[GuestChannel], Awaitable[None]]


@runtime_checkable
class TemplateVmm(Vmm, Protocol):
    """A VMM with ``templates`` among its capabilities."""

    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        """See to it that later machines like ``spec`` need not boot: those that differ in key, files, addresses and console only.

        It takes as long as a boot, at low priority, and nothing is started for a user. A repeat does nothing and is quick; so it is when
        another process makes the same template, which is not waited for. Partial failure, cancellation and the death of our
        process leave no process and no file that counts for anything.

        Args:
            spec: of a machine that was started, which may have ended.
            greet: to know that an agent serves before it is captured, and that one serves in a copy.

        Returns:
            None when they need not; else why they must, a sentence.

        Raises:
            MachineError: the template's machine did not boot, could not be captured, or copies of it do not run.
            StorageError: the template could not be kept.
        """
        ...


@runtime_checkable
class SettlingVmm(TemplateVmm, Protocol):
    """A VMM whose templates can also be set up: for machines of one role, which then need only be told who they are (:class:`Settled`)."""

    async def prepare_role(self, spec: MachineSpec, greet: Greeter, settle: Greeter) -> str | None:
        """See to it that later machines like ``spec``, of the same ``role`` and with the same files for disks, need neither boot nor be set up.

        They may differ as :meth:`TemplateVmm.prepare` says. It takes as long as a start, at low priority, once there is a template of the shape;
        a repeat is quick. What it makes lasts as long as the VMM's context at most. Partial failure, cancellation, death: as there.

        Args:
            spec: of a machine that was started, which may have ended.
            greet: to know that an agent serves in a copy.
            settle: sets a guest up as ``spec.role`` says.

        Returns:
            None when they need not; else why they must, a sentence.

        Raises:
            MachineError, GuestError, DeadlineExceeded: a copy did not start, could not be set up or captured, or copies of that do not run.
            StorageError: its files could not be made.
        """
        ...


@runtime_checkable
class StockingVmm(TemplateVmm, Protocol):
    """A VMM that keeps spares: copies of a template, made before anybody asks, of which :meth:`Vmm.start` takes one where one fits.

    One that was set up for the machine's role goes before one that was set up for none: the machine tells (:class:`Settled`) which it was.
    How many of which shape there are is for the caller to say, and to pay for; the VMM makes and ends none by itself. A spare belongs to the
    process that made it and ends with the VMM's context; what a process that was killed has left, the next one to open the VMM ends.
    """

    async def stock(self, spec: MachineSpec, greet: Greeter, settle: Greeter | None = None) -> Spare | str:
        """Make one spare for machines like ``spec``. Partial failure and cancellation leave nothing.

        Args:
            spec: of a machine that was started, which may have ended.
            greet: speaks with the spare's agent before it is put aside.
            settle: speaks with it once more, when the disks of ``spec`` lie below it, and sets its guest up as ``spec.role`` says. From
                then on it serves machines of that role alone, and those only if their disks are still the same files. None: it serves
                every machine of its shape, and has no role.

        Returns:
            The spare; or why there can be none, a sentence: no template yet, or a machine that needs something from its start, or,
            with ``settle``, one that has a disk of its own.

        Raises:
            MachineError, GuestError, DeadlineExceeded: it did not start, or its agent did not answer.
            StorageError: its files could not be made.
        """
        ...

    def spares(self) -> tuple[Spare, ...]:
        """Those that wait."""
        ...

    async def unstock(self, spare: str) -> None:
        """End a spare, by its id. One that was taken or has ended is not an error."""
        ...
