"""The parts of one sandbox put together, found again, and taken apart.

:meth:`Assembly.build` stacks each step's undoing where the step is done, so that failure and cancellation at any await leave
nothing behind. A sandbox that lasts is not undone by a stack, which would die with this process, but by its key:
:meth:`Assembly.discard` asks the backends to remove what they have for it, whichever process made it, and may be
repeated. :meth:`Assembly.adopt` finds the machine of a sandbox that an earlier process launched.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from attrs import evolve, field, frozen

from monocore_core.backends import Backends
from monocore_core.concurrency import together
from monocore_core.errors import DeadlineExceeded, MachineError, MonocoreError
from monocore_core.guest.bootdisk import boot_disk
from monocore_core.guest.client import Guest
from monocore_core.interfaces.provider import Interface
from monocore_core.interfaces.vmm import Machine, PausableMachine, Settled, Vmm
from monocore_core.model.events import Began, Event, Listener, Published, Stage
from monocore_core.model.guest import GuestRenewal, GuestSetup
from monocore_core.model.image import Image
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import Connection, NetworkRequest, NoNetwork
from monocore_core.model.oci import Platform
from monocore_core.model.rootfs import RootFs
from monocore_core.model.sandbox import MIN_MEMORY, CommandRequest, SandboxRequest
from monocore_core.origin import Origin
from monocore_core.plan.choose import Plan
from monocore_core.plan.compose import Parts, guest_setup, machine_spec
from monocore_core.plugins import Plugins
from monocore_core.pooling import Pool
from monocore_core.preparing import Preparer
from monocore_core.roles import ENTROPY, Habit, renewal_of, role_of, settler
from monocore_core.roots import Roots
from monocore_core.sandbox import Sandbox
from monocore_core.store import Store
from monocore_core.store.facade import SCRATCH_NAME
from monocore_core.store.scratch import take_disk
from monocore_core.volumes import serve_volumes

#: Seconds that the agent of a machine found again has to answer, and how often it is asked.
ADOPT_TIMEOUT, ADOPT_TRIES = 8.0, 3


@frozen
class Clock:
    """Marks stages of one sandbox's start."""

    sandbox: str
    began: float
    stages: list[Stage]
    listener: Listener
    beginnings: list[Began] = field(factory=list[Began])

    def hear(self, event: Event) -> None:
        """Something that a backend tells of the sandbox."""
        if isinstance(event, Began):
            self.beginnings.append(event)
        self.listener(event)

    def mark(self, name: str, *, since: str = "") -> None:
        """A stage is complete, which began with the end of the stage before, or of the one that is named."""
        now = time.monotonic() - self.began
        ends = [stage.seconds for stage in self.stages if not since or stage.name == since]
        stage = Stage(self.sandbox, name, now, now - (ends[-1] if ends else 0.0))
        self.stages.append(stage)
        self.listener(stage)


@frozen
class Blueprint:
    """Everything decided about one sandbox.

    Attributes:
        key: names everything that is made.
        request: what is asked.
        plan: which backends do it.
        image: in the store.
        network: what is asked of the network; nothing, when that is ``none``.
        command: to start as soon as there is a root to run it in.
        label: of that command, see :meth:`Sandbox.exec`.
        origin: what the machine goes on as; then it has its commands already.
    """

    key: str
    request: SandboxRequest
    plan: Plan
    image: Image
    network: NetworkRequest
    command: CommandRequest | None = None
    label: str = ""
    origin: Origin | None = None


@frozen(eq=False)
class Assembly:
    """What it takes to put sandboxes together.

    Attributes:
        store: images, folders, leases.
        backends: opened when they are needed.
        shareable: folders of the host that may be shared.
        listener: receives events.
        preparer: has templates made.
        pool: has spares made.
    """

    store: Store
    backends: Backends
    shareable: Iterable[str]
    listener: Listener
    preparer: Preparer
    pool: Pool

    async def build(self, what: Blueprint, clock: Clock, stack: AsyncExitStack, *, lasting: bool) -> Sandbox:
        """A running sandbox, whose undoing is on the stack.

        Args:
            what: is to be built.
            clock: marks the stages.
            stack: receives the undoing.
            lasting: what is made belongs to the key, not to this process.
        """
        with self.pool.starting(), self.backends.hearing(what.key, clock.hear):
            return await self._build(what, clock, stack, lasting=lasting)

    async def _build(self, what: Blueprint, clock: Clock, stack: AsyncExitStack, *, lasting: bool) -> Sandbox:
        key, request, plan, image = what.key, what.request, what.plan, what.image
        if lasting and not self.backends.adoptable(plan.vmm):
            request = evolve(request, foreground=True)  # nobody could end it after us
        self.store.begin_lease(image, key, name=request.name, persistent=lasting)
        stack.callback(self.store.end_lease, key)
        directory = self._folder(key, stack, lasting=lasting)
        root, connection, boot = await together(
            self._root(what, stack, clock),
            self._connect(plan, key, what.network, stack, clock),
            asyncio.to_thread(boot_disk, request.platform.architecture, self.store.cache_directory("boot")),
        )
        if what.origin is not None and what.origin.disk is not None:
            await asyncio.to_thread(take_disk, what.origin.disk, directory / SCRATCH_NAME)
        upper = await self.store.scratch_disk(directory, request.disk) if request.disk is not None else None
        volumes = serve_volumes(request.volumes, self.shareable, self.store, key, directory)
        parts = Parts(key, root, connection, boot, directory, upper, volumes)
        clock.mark("assemble", since="image")
        vmm = await self.backends.vmm(plan.vmm)
        spec, draft = machine_spec(request, parts), guest_setup(request, parts, entropy=b"", time_ns=0)
        if what.origin is None and not self.backends.private_roots(plan.layer_merger):
            spec = evolve(spec, role=role_of(spec, draft))
        machine = await self._start(vmm, spec, stack, what.origin)
        if what.origin is not None:
            clock.hear(Began(key, copied=True))
        clock.mark("spawn")
        guest = await Guest.open(await machine.connect(), timeout=request.boot_timeout, first=True)
        stack.push_async_callback(guest.aclose)
        clock.mark("boot")
        sandbox = Sandbox(
            id=key,
            name=request.name or key,
            image=image,
            plan=plan,
            root=root,
            connection=connection,
            machine=machine,
            guest=guest,
            mark=clock.mark,
            stages=clock.stages,
            began=clock.beginnings[-1] if clock.beginnings else None,
        )
        setup = evolve(draft, entropy=os.urandom(ENTROPY), time_ns=time.time_ns())
        if what.origin is not None:
            await guest.release(what.origin.renewal(setup))
            await what.origin.ready()
            await guest.release(GuestRenewal(time.time_ns()))
            clock.mark("renew")
            sandbox.started = True
            return sandbox
        habit = sandbox.habit = Habit(image.config) if spec.role else None
        await _set_up(sandbox, setup, what)
        settle = settler(draft, habit) if habit is not None else None
        self.preparer.consider(vmm, spec, settle)
        # a spare's network device leads where it leads from its start, so none can wait for one that has a network
        self.pool.consider(vmm, spec, settle if isinstance(spec.attachment, NoNetwork) else None)
        return sandbox

    async def adopt(self, what: Blueprint) -> Sandbox | None:
        """The sandbox that an earlier process launched, when it still runs and answers. See ``Engine.adopt``."""
        key, request, plan, image = what.key, what.request, what.plan, what.image
        vmm = await self.backends.vmm(plan.vmm)
        machine = await vmm.adopt(self._spec_of(key, request))
        if machine is None:
            return None
        root = await self._roots.find(plan.layer_merger, image, key)
        backend = await self.backends.network(plan.network)
        connection = await backend.attach(key, what.network)
        with suppress(MonocoreError):  # all that is wanting then is what it could be captured as
            await vmm.adopt(await self._spec_again(what, root, connection))
        if isinstance(machine, PausableMachine):
            await machine.resume()  # paused, its agent does not answer; whoever wants it paused does it again
        guest = await _greet(machine)
        if not guest.ready:
            await guest.aclose()
            return None
        await _take_up(guest)
        clock = Clock(key, time.monotonic(), [], self.listener)
        return Sandbox(
            id=key,
            name=request.name or key,
            image=image,
            plan=plan,
            root=root,
            connection=connection,
            machine=machine,
            guest=guest,
            mark=clock.mark,
            stages=clock.stages,
            started=True,
        )

    async def discard(self, key: str, plan: Plan | None, plugins: Plugins, *, folder: bool) -> None:
        """End and remove everything of a key. See ``Engine.discard``. What one backend refuses does not keep the others.

        Raises:
            MonocoreError: the first refusal, after everything else was done.
        """
        refused: list[MonocoreError] = []
        for name in _names(plan.vmm if plan else None, plugins, Interface.VMM):
            await _tolerantly(self._end(name, key), refused)
        for name in _names(plan.network if plan else None, plugins, Interface.NETWORK):
            await _tolerantly(self._disconnect(name, key), refused)
        for name in _names(plan.layer_merger if plan else None, plugins, Interface.LAYER_MERGER):
            if self.backends.private_roots(name):
                await _tolerantly(self._remove_roots(name, key), refused)
        if refused:
            raise refused[0]
        if folder:
            self.store.remove_sandbox_directory(key)
        self.store.end_lease(key)

    async def _end(self, name: str, key: str) -> None:
        vmm = await self.backends.vmm(name)
        machine = await vmm.adopt(self._spec_of(key))
        if machine is not None:
            await machine.kill()
        await vmm.remove(key)

    async def _disconnect(self, name: str, key: str) -> None:
        await (await self.backends.network(name)).detach(key)

    async def _remove_roots(self, name: str, key: str) -> None:
        merger = await self.backends.layer_merger(name)
        for root in await merger.keys():
            if root.endswith(f"-{key}".lower()):
                await merger.remove(root)

    def _spec_of(self, key: str, request: SandboxRequest | None = None) -> MachineSpec:
        """As much of a running machine's specification as finding it takes."""
        directory = self.store.layout.sandbox(key)
        platform = request.platform if request is not None else Platform.host()
        return MachineSpec(
            key=key,
            architecture=platform.architecture,
            vcpus=request.vcpus if request is not None else 1,
            memory=request.memory if request is not None else MIN_MEMORY,
            boot=directory,
            directory=directory,
            console=directory / "console.log",
            foreground=False,
            boot_timeout=ADOPT_TIMEOUT,
        )

    async def _spec_again(self, what: Blueprint, root: RootFs, connection: Connection) -> MachineSpec:
        """As it would be started now, but for its volumes: with any, a machine cannot be captured."""
        key, request = what.key, what.request
        boot = await asyncio.to_thread(
            boot_disk, request.platform.architecture, self.store.cache_directory("boot")
        )
        directory = self.store.layout.sandbox(key)
        upper = directory / SCRATCH_NAME if request.disk is not None else None
        return machine_spec(request, Parts(key, root, connection, boot, directory, upper, ()))

    def _folder(self, key: str, stack: AsyncExitStack, *, lasting: bool) -> Path:
        """The sandbox's folder. That of one which lasts goes with :meth:`discard` alone: it holds the writable disk."""
        if lasting:
            return self.store.keep_sandbox_directory(key)
        directory = self.store.make_sandbox_directory(key)
        stack.callback(self.store.remove_sandbox_directory, key)
        return directory

    async def _root(self, what: Blueprint, stack: AsyncExitStack, clock: Clock) -> RootFs:
        root = await self._roots.make(what.plan.layer_merger, what.image, what.key, stack)
        clock.mark("merge", since="image")
        return root

    @property
    def _roots(self) -> Roots:
        return Roots(self.store, self.backends, self.listener)

    async def _connect(
        self, plan: Plan, key: str, asked: NetworkRequest, stack: AsyncExitStack, clock: Clock
    ) -> Connection:
        network = await self.backends.network(plan.network)
        stack.push_async_callback(network.detach, key)
        for dead in await network.keys() - {lease.key for lease in self.store.leases()}:
            await network.detach(dead)
        connection = await network.attach(key, asked)
        clock.mark("network", since="image")
        if connection.published:
            self.listener(Published(key, tuple(map(str, connection.published))))
        return connection

    async def _start(
        self, vmm: Vmm, spec: MachineSpec, stack: AsyncExitStack, origin: Origin | None
    ) -> Machine:
        stack.push_async_callback(vmm.remove, spec.key)
        if origin is None:
            machine = await vmm.start(spec)
        else:
            machine = await origin.restore(vmm, spec)
        stack.push_async_callback(machine.kill)
        if machine.key != spec.key:
            raise MachineError(f"the VMM answered for machine {machine.key!r}, not {spec.key!r}")
        return machine


async def _greet(machine: Machine) -> Guest:
    """The agent of a machine found again. A guest may learn of our predecessor's end late, and take it for ours: then ask again."""
    for _ in range(ADOPT_TRIES - 1):
        with suppress(DeadlineExceeded):
            return await Guest.open(await machine.connect(), timeout=ADOPT_TIMEOUT)
    return await Guest.open(await machine.connect(), timeout=ADOPT_TIMEOUT)


async def _take_up(guest: Guest) -> None:
    """The guest of a machine found again goes on, with the right time. Nobody waits long for an agent that says no more than a welcome."""
    try:
        async with asyncio.timeout(ADOPT_TIMEOUT):
            if guest.held:  # our predecessor ended while it captured it
                await guest.release(GuestRenewal(time.time_ns()))
            await guest.set_time(time.time_ns())
    except (MonocoreError, TimeoutError) as error:
        await guest.aclose()
        if isinstance(error, MonocoreError):
            raise
        raise DeadlineExceeded(f"the guest agent did not answer within {ADOPT_TIMEOUT:g} s") from error


async def _set_up(sandbox: Sandbox, setup: GuestSetup, what: Blueprint) -> None:
    """Make the guest a sandbox, and start its first command without waiting for word of that. One that waited for it may be all but that."""
    # the guest's own word counts for nothing
    settled = isinstance(sandbox.machine, Settled) and sandbox.machine.settled

    async def begin() -> None:
        if settled:
            await sandbox.guest.release(renewal_of(setup))
        else:
            await sandbox.guest.setup(setup)
        sandbox.mark("root")

    if what.command is None:
        await begin()
        return
    command = sandbox.exec(what.command, label=what.label)
    for outcome in await asyncio.gather(begin(), command, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome  # the first: a command cannot start where nothing was set up
        sandbox.first = outcome


def _names(chosen: str | None, plugins: Plugins, interface: Interface) -> tuple[str, ...]:
    return (chosen,) if chosen else tuple(backend.name for backend in plugins.of(interface))


async def _tolerantly(work: Coroutine[object, object, None], refused: list[MonocoreError]) -> None:
    try:
        await work
    except MonocoreError as error:
        refused.append(error)
