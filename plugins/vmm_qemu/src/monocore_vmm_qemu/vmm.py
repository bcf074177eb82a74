"""The backend itself: starts, adopts and forgets machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from monocore_core.concurrency import in_thread
from monocore_core.errors import Conflict, MachineError, NotFound, Unsupported
from monocore_core.interfaces.provider import Host, VmmCapabilities
from monocore_core.interfaces.vmm import Greeter, Snapshot
from monocore_core.jail import Jailer
from monocore_core.model.events import Began, Warned
from monocore_core.model.machine import MachineSpec, Spare
from monocore_core.vmmkit import process
from monocore_core.vmmkit.guestkernel import INSTALL_HINT, Kernel, find_source, prepare
from monocore_core.vmmkit.kvm import kvm_problem
from monocore_vmm_qemu.accel import Trust, Verdicts, decide
from monocore_vmm_qemu.launch import Launcher
from monocore_vmm_qemu.machine import QemuMachine
from monocore_vmm_qemu.options import AccelChoice, QemuOptions
from monocore_vmm_qemu.probe import BINARY_HINT, find_binary
from monocore_vmm_qemu.records import Records
from monocore_vmm_qemu.running import Running
from monocore_vmm_qemu.settled import unsettled
from monocore_vmm_qemu.shape import identify, key_of
from monocore_vmm_qemu.snapshot import QemuSnapshot, load_snapshot, refuse
from monocore_vmm_qemu.spares import Source, Spares, unfit
from monocore_vmm_qemu.templates import Start, Templates

_MAX_SERIAL = 20
_UNPROVEN = "KVM has yet to prove itself on this host"


class QemuVmm:
    """See :class:`~monocore_core.interfaces.vmm.Vmm`.

    Args:
        host: where to keep things.
        options: as configured.
        capabilities: what the provider promises.
        root: ``/``, or a folder that stands for it when KVM is looked for.
    """

    def __init__(
        self, host: Host, options: QemuOptions, capabilities: VmmCapabilities, root: Path = Path("/")
    ) -> None:
        self._host = host
        self._options = options
        self._capabilities = capabilities
        self._root = root
        self._boot_id = process.boot_id()
        self._records = Records(host.state / "machines")
        self._verdicts = Verdicts(host.state / "kvm.json", self._boot_id)
        self._machines: dict[str, QemuMachine] = {}
        self._found: set[str] = set()  # those of them that an earlier process started
        self._starting: set[str] = set()
        self._templates = Templates(host, options, self._records)
        self._spares = Spares(host.state / "spares", self._records)
        self._jailer = Jailer(host.security, host.cache, host.emit)

    async def start(self, spec: MachineSpec) -> QemuMachine:
        """See the protocol."""
        self._check(spec)
        launcher = self._launcher(spec.architecture)
        if spec.key in self._starting or launcher.alive(spec.key):
            raise Conflict(f"machine {spec.key} runs already")
        self._starting.add(spec.key)
        try:
            await self._records.abandon(spec.key)
            kernel = await asyncio.to_thread(self._kernel, spec.architecture)
            trust = self._verdicts.trust(kernel.digest)
            kvm = decide(self._options.accel, kvm_problem(self._root, spec.architecture), trust)
            on_trial = kvm and self._options.accel is AccelChoice.AUTO and trust is not Trust.WORKS
            copy = await self._copy(Start(spec, launcher, kernel, kvm), on_trial)
            try:
                running = copy or await launcher.launch(spec, kernel, kvm=kvm)
            except MachineError:
                if not on_trial:
                    raise
                self._verdicts.remember(kernel.digest, Trust.FAILS)
                running = await launcher.launch(spec, kernel, kvm=False)
                on_trial = False
        finally:
            self._starting.discard(spec.key)
        machine = QemuMachine(spec, running, self._shape)
        if on_trial:
            self._try(machine, launcher, spec, kernel)
        self._machines[spec.key] = machine
        return machine

    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        """See the protocol."""
        start = await self._settled(spec)
        return start if isinstance(start, str) else await self._templates.prepare(start, greet)

    async def stock(self, spec: MachineSpec, greet: Greeter, settle: Greeter | None = None) -> Spare | str:
        """See :class:`~monocore_core.interfaces.vmm.StockingVmm`."""
        if reason := unfit(spec) or (unsettled(spec) if settle is not None else None):
            return reason
        start = await self._settled(spec)
        found = start if isinstance(start, str) else await self._templates.find(start)
        if isinstance(found, str) or isinstance(start, str):
            return str(found)
        key, image = found
        with closing(image):
            source = Source(key, image, await self._templates.stub())
            return await self._spares.add(source, start, greet, settle)

    async def prepare_role(self, spec: MachineSpec, greet: Greeter, settle: Greeter) -> str | None:
        """See :class:`~monocore_core.interfaces.vmm.SettlingVmm`."""
        start = await self._settled(spec)
        return start if isinstance(start, str) else await self._templates.prepare_role(start, greet, settle)

    def spares(self) -> tuple[Spare, ...]:
        """See :class:`~monocore_core.interfaces.vmm.StockingVmm`."""
        return self._spares.all()

    async def unstock(self, spare: str) -> None:
        """See :class:`~monocore_core.interfaces.vmm.StockingVmm`."""
        await self._spares.end(spare)

    async def restore(self, spec: MachineSpec, snapshot: Snapshot) -> QemuMachine:
        """See :class:`~monocore_core.interfaces.vmm.SnapshotVmm`."""
        self._check(spec)
        if (reason := refuse(spec)) is not None:
            raise Unsupported(f"vmm_qemu: the machine cannot be restored: {reason}")
        if not isinstance(snapshot, QemuSnapshot):
            raise Unsupported("vmm_qemu: the snapshot is another VMM's")
        launcher = self._launcher(spec.architecture)
        if spec.key in self._starting or launcher.alive(spec.key):
            raise Conflict(f"machine {spec.key} runs already")
        self._starting.add(spec.key)
        try:
            await self._records.abandon(spec.key)
            stub = await self._templates.stub()
            running = await launcher.launch(spec, stub, kvm=snapshot.kvm, image=snapshot.captured)
        finally:
            self._starting.discard(spec.key)
        machine = self._machines[spec.key] = QemuMachine(spec, running, self._shape)
        return machine

    async def load_snapshot(self, spec: MachineSpec, path: Path) -> QemuSnapshot:
        """See the protocol."""
        kvm = await self._kvm_for(spec)
        shape, _ = await self._shape(spec, kvm)
        return await in_thread(lambda: load_snapshot(path, spec.memory, shape, kvm=kvm))

    async def adopt(self, spec: MachineSpec) -> QemuMachine | None:
        """See the protocol."""
        launcher = self._launcher(spec.architecture)
        known = self._machines.get(spec.key)
        if known is not None:
            if not launcher.alive(spec.key):
                return None
            if spec.key in self._found:
                known.described(spec)
            return known
        if spec.key in self._starting:
            return None
        found = await launcher.adopt(spec)
        if found is None:
            return None
        machine = QemuMachine(spec, found[0], self._shape)
        self._machines[spec.key] = machine
        self._found.add(spec.key)
        return machine

    async def remove(self, key: str) -> None:
        """See the protocol."""
        record = self._records.read(key)
        if record and record.boot_id == self._boot_id and process.start_time(record.pid) == record.started:
            raise Conflict(f"machine {key} is running")
        if key not in self._starting:
            await self._records.abandon(key)
            self._records.remove(key)
        self._found.discard(key)
        machine = self._machines.pop(key, None)
        if machine is not None:
            await machine.release()

    async def sweep(self) -> None:
        """End the spares that processes left which are gone, and remove what they left of templates."""
        await asyncio.to_thread(self._spares.sweep)
        await asyncio.to_thread(self._templates.sweep)

    async def aclose(self) -> None:
        """End machines that must not outlive us, and spares, and let the others run on."""
        await self._spares.aclose()
        for machine in list(self._machines.values()):
            if machine.foreground:
                await machine.kill()
            await machine.release()
        self._machines.clear()
        self._found.clear()
        self._templates.close()

    async def _settled(self, spec: MachineSpec) -> Start | str:
        """What a machine would be started with, once it is settled whether under KVM; else why it is not."""
        self._check(spec)
        kernel = await asyncio.to_thread(self._kernel, spec.architecture)
        trust = self._verdicts.trust(kernel.digest)
        kvm = decide(self._options.accel, kvm_problem(self._root, spec.architecture), trust)
        if kvm and self._options.accel is AccelChoice.AUTO and trust is not Trust.WORKS:
            return _UNPROVEN
        return Start(spec, self._launcher(spec.architecture), kernel, kvm)

    async def _shape(self, spec: MachineSpec, kvm: bool) -> tuple[str, Path]:
        """Names everything that must be the same for a machine to go on as another, and the QEMU that would run it now."""
        launcher = self._launcher(spec.architecture)
        kernel = await asyncio.to_thread(self._kernel, spec.architecture)
        facts = await launcher.facts(spec, kernel, kvm=kvm)

        def key() -> str:
            return key_of(spec, facts, identify(facts.binary, kernel.digest, spec.boot, kvm=kvm))

        return await in_thread(key), facts.binary

    async def _kvm_for(self, spec: MachineSpec) -> bool:
        """Whether machines that begin now use KVM, as one that was captured did: it had proven itself, then or before."""
        kernel = await asyncio.to_thread(self._kernel, spec.architecture)
        problem = kvm_problem(self._root, spec.architecture)
        return decide(self._options.accel, problem, self._verdicts.trust(kernel.digest))

    def _check(self, spec: MachineSpec) -> None:
        problem = self._capabilities.refuse(spec)
        if problem is not None:
            raise Unsupported(f"vmm_qemu: {problem}")
        for disk in spec.disks:
            if not 0 < len(disk.name.encode()) <= _MAX_SERIAL:
                raise Unsupported(f"vmm_qemu: disk name {disk.name!r} is longer than {_MAX_SERIAL} bytes")
        room = self._capabilities.max_disks - (1 if spec.shares else 0)
        if len(spec.disks) > room:
            raise Unsupported(
                f"vmm_qemu: {len(spec.disks)} disks beside shared folders are more than the {room} that fit"
            )
        if spec.vcpus < 1 or spec.memory < 1:
            raise Unsupported("vmm_qemu: a machine needs at least one vCPU and some memory")

    def _launcher(self, architecture: str) -> Launcher:
        binary = find_binary(self._options.binary, architecture)
        if binary is None:
            raise NotFound(f"QEMU for {architecture} is not installed", hint=BINARY_HINT)
        options = self._options
        return Launcher(binary, options, self._records, self._boot_id, self._jailer, nice=options.nice)

    def _kernel(self, architecture: str) -> Kernel:
        source = find_source(self._options.kernel, architecture)
        if source is None:
            raise NotFound("no guest kernel was found", hint=INSTALL_HINT)
        return prepare(source, architecture, self._host.cache)

    async def _copy(self, start: Start, on_trial: bool) -> Running | None:
        """The machine as a copy of a template; None when it has to boot, which is told."""
        spec = start.spec
        found = _UNPROVEN if on_trial else await self._templates.find(start)
        if not isinstance(found, str):
            key, image = found
            with closing(image):
                if (
                    ready := await self._spare(key, start) or await self._settled_copy(key, start)
                ) is not None:
                    return ready
                stub = await self._templates.stub()
                try:
                    running = await start.launcher.launch(spec, stub, kvm=start.kvm, image=image)
                except MachineError as error:
                    found = self._templates.failed(key, error)
                else:
                    self._templates.worked(key)
                    self._host.emit(Began(spec.key, copied=True))
                    return running
        self._host.emit(Began(spec.key, copied=False, reason=found))
        return None

    async def _spare(self, key: str, start: Start) -> Running | None:
        """A spare that has become the machine, when there is one that can."""
        if unfit(start.spec) is not None:
            return None
        try:
            running = await self._spares.take(key, start)
        except MachineError as error:
            self._host.emit(
                Warned(f"a spare machine could not be used, and a new one is started: {error.brief}")
            )
            return None
        if running is not None:
            self._host.emit(Began(start.spec.key, copied=True, spare=True))
        return running

    async def _settled_copy(self, key: str, start: Start) -> Running | None:
        """A copy whose guest is set up already, when there is one to copy."""
        image = self._templates.settled(key, start.spec)
        if image is None:
            return None
        with closing(image):
            stub = await self._templates.stub()
            try:
                running = await start.launcher.launch(start.spec, stub, kvm=start.kvm, image=image)
            except MachineError as error:
                self._templates.unsettle(key, start.spec, error)
                return None
        running.settled = True
        self._host.emit(Began(start.spec.key, copied=True))
        return running

    def _try(self, machine: QemuMachine, launcher: Launcher, spec: MachineSpec, kernel: Kernel) -> None:
        async def relaunch() -> Running:
            return await launcher.launch(spec, kernel, kvm=False)

        def verdict(trust: Trust) -> None:
            self._verdicts.remember(kernel.digest, trust)

        machine.try_kvm(min(self._options.kvm_boot_timeout, spec.boot_timeout), relaunch, verdict)


@asynccontextmanager
async def open_vmm(
    host: Host, options: QemuOptions, capabilities: VmmCapabilities
) -> AsyncGenerator[QemuVmm]:
    """The backend, for as long as the context lasts."""
    vmm = QemuVmm(host, options, capabilities)
    await vmm.sweep()
    try:
        yield vmm
    finally:
        await vmm.aclose()
