"""What the clauses of the VMM contract stand on: the fixtures, one guest for the clauses that only look, and the inspection."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from attrs import define, evolve, field, frozen

from monocore_core.errors import MonocoreError
from monocore_core.guest.client import Guest
from monocore_core.interfaces.provider import Host, VmmCapabilities, VmmProvider
from monocore_core.interfaces.vmm import Machine, Vmm
from monocore_core.model.events import Event
from monocore_core.model.guest import RootDisk, RootShare, ShareMount
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_core.testing.guests import MIB, ROOT, GuestKit, connected
from monocore_core.testing.processes import MARK, descriptors, processes, settled, tree

#: Seconds for what must be gone to be gone.
PATIENCE = float(os.environ.get("MONOCORE_CONTRACT_PATIENCE", "15"))
_KITS: list[GuestKit] = []
#: Words of the looked-at guest's kernel command line.
WORDS = ("contract.first=1", "contract.second=two")
VCPUS = 2
MEMORY = 256 * MIB
#: More than a guest kernel takes, which some VMMs put beside the memory.
KERNEL = 32 * MIB
READONLY = "look-ro"
WRITABLE = "look-rw"
READONLY_BYTES = b"must-not-change!"
WRITTEN = b"kept-by-the-host"


@frozen
class Bench:
    """An opened VMM, and what guests for it are made of.

    Attributes:
        provider: under test.
        options: for it.
        host: its places.
        capabilities: what the VMM can do on this host.
        vmm: opened.
        kit: parts of guests.
        token: that processes of this bench inherit.
        events: that the VMM has told of.
    """

    provider: VmmProvider[object]
    options: object
    host: Host
    capabilities: VmmCapabilities
    vmm: Vmm
    kit: GuestKit
    token: str
    events: list[Event] = field(factory=list[Event])

    def root(self, kind: RootKind | None = None, layout: DiskFormat | None = None) -> MachineSpec:
        """A specification with the sample root in a shape that the VMM claims."""
        chosen = kind or (RootKind.DISK if self._disks() else RootKind.DIRECTORY)
        if chosen is RootKind.DIRECTORY:
            return self.kit.spec(shares=(self.kit.root_share(),))
        return self.kit.spec(disks=(self.kit.root_disk(layout or self._format()),))

    def processes(self) -> frozenset[int]:
        """Processes that the VMM, or a helper of ours, has started."""
        return processes(self.token, str(self.host.state.parent))

    def need(self, claimed: bool, what: str) -> None:
        """Skip, with the reason, what the VMM does not claim."""
        if not claimed:
            lacks = "; ".join(self.capabilities.lacks)
            pytest.skip(f"{self.provider.name} does not claim {what}" + (f" ({lacks})" if lacks else ""))

    @asynccontextmanager
    async def started(self, spec: MachineSpec) -> AsyncGenerator[Machine]:
        """A machine, killed and removed at the end."""
        async with asyncio.timeout(PATIENCE):
            machine = await self.vmm.start(spec)
        try:
            yield machine
        finally:
            async with asyncio.timeout(PATIENCE):
                await machine.kill()
                await self.vmm.remove(spec.key)

    @asynccontextmanager
    async def sandbox(self, spec: MachineSpec, *mounts: ShareMount) -> AsyncGenerator[tuple[Machine, Guest]]:
        """A machine whose guest is set up."""
        async with self.started(spec) as machine, connected(machine) as guest:
            await guest.setup(evolve(GuestKit.setup(root_of(spec)), mounts=mounts))
            yield machine, guest

    def _disks(self) -> bool:
        fits = bool(self.capabilities.disk_formats) and self.capabilities.max_disks > 0
        return RootKind.DISK in self.capabilities.roots and fits

    def _format(self) -> DiskFormat:
        formats = self.capabilities.disk_formats
        return DiskFormat.RAW if DiskFormat.RAW in formats else min(formats)


def root_of(spec: MachineSpec) -> RootDisk | RootShare:
    """Where the guest finds the sample root."""
    return RootShare(ROOT) if any(share.tag == ROOT for share in spec.shares) else RootDisk(ROOT, "erofs")


@frozen
class Before:
    """What there was on the host before something that must leave nothing."""

    bench: Bench
    processes: frozenset[int]
    descriptors: Counter[str]
    state: frozenset[str]

    @classmethod
    def of(cls, bench: Bench) -> Before:
        """Now."""
        return cls(bench, bench.processes(), descriptors(), tree(bench.host.state))

    async def check_processes(self) -> None:
        """No process may be there that was not."""
        left = await settled(
            lambda: self.bench.processes() - self.processes, lambda found: not found, PATIENCE
        )
        assert not left, "processes are left: " + ", ".join(map(_described, sorted(left)))

    async def check_descriptors(self) -> None:
        """No descriptor of ours may be open that was not."""
        more = await settled(lambda: descriptors() - self.descriptors, lambda found: not found, PATIENCE)
        assert not more, f"descriptors are left open: {dict(more)}"

    def check_files(self, spec: MachineSpec) -> None:
        """The machine's folder may hold its console alone, the backend's state nothing new."""
        left = tree(spec.directory) - {spec.console.name}
        assert not left, f"files are left in the machine's folder: {sorted(left)}"
        more = {name for name in tree(self.bench.host.state) - self.state if spec.key in name}
        assert not more, f"files of the key are left in the backend's state: {sorted(more)}"


def _described(pid: int) -> str:
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "(gone meanwhile)"
    return f"{pid} {words.strip()[:120]}"


@frozen
class Looked:
    """The guest that clauses look at without changing it for one another."""

    spec: MachineSpec
    machine: Machine
    guest: Guest
    disks: tuple[Disk, ...]
    readonly: Share | None = None
    writable: Share | None = None

    def disk(self, name: str) -> Disk:
        """One of its disks; a skip where the VMM takes too few."""
        for disk in self.disks:
            if disk.name == name:
                return disk
        pytest.skip("the VMM takes no further raw disk")


@define
class Shared:
    """What the clauses of one class share, made when the first of them asks for it.

    Attributes:
        stack: closes it.
        bench: the opened VMM.
        looked: the guest to look at.
        trouble: why there is none; the next clauses need not wait for the same again.
    """

    stack: AsyncExitStack
    bench: Bench | None = None
    looked: Looked | None = None
    trouble: str = ""


class VmmFixtures:
    """Fixtures of the contract. A subclass gives ``provider``; the other ones without underscore are its choice."""

    @pytest.fixture
    def provider(self) -> VmmProvider[object]:
        """The provider under test; of every scope, but always the same."""
        raise NotImplementedError(f"{type(self).__name__} gives no fixture 'provider'")

    @pytest.fixture
    def options(self, provider: VmmProvider[object]) -> object:
        """Its options; unless overridden, the defaults."""
        return provider.options()

    @pytest.fixture
    def console_bound(self) -> tuple[object, int] | None:
        """Options with a small bound of the console's file, and that bound in bytes; None: not to be tried."""
        return None

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def shared(cls) -> AsyncGenerator[Shared]:
        """What the clauses share."""
        async with AsyncExitStack() as stack:
            yield Shared(stack)

    @pytest_asyncio.fixture(loop_scope="class")
    async def bench(
        self,
        provider: VmmProvider[object],
        options: object,
        tmp_path_factory: pytest.TempPathFactory,
        shared: Shared,
    ) -> Bench:
        """The VMM, opened; the class is skipped where the host cannot run it."""
        if shared.bench is None:
            folder = tmp_path_factory.mktemp("vmm").resolve()
            shared.bench = await shared.stack.enter_async_context(_opened(provider, options, folder))
        return shared.bench

    @pytest_asyncio.fixture(loop_scope="class")
    async def looked(self, bench: Bench, shared: Shared) -> Looked:
        """One guest with two processors, two further disks and two shares, where the VMM claims so much."""
        if shared.trouble:
            pytest.fail(f"the guest to look at could not be booted: {shared.trouble}")
        if shared.looked is None:
            try:
                shared.looked = await shared.stack.enter_async_context(_looked_at(bench))
            except (MonocoreError, TimeoutError) as error:
                shared.trouble = repr(error)
                raise
        return shared.looked


def guest_kit(folder: Path) -> GuestKit:
    """Parts of guests, made once in a process: the first folder is everybody's; a skip where the host has not what it takes."""
    if _KITS and _KITS[0].boot.exists():
        return _KITS[0]
    try:
        kit = GuestKit.make(folder)
    except MonocoreError as error:
        pytest.skip(f"{error.brief}" + (f" ({error.hint})" if error.hint else ""))
    _KITS[:] = [kit]
    return kit


@asynccontextmanager
async def _opened(provider: VmmProvider[object], options: object, folder: Path) -> AsyncGenerator[Bench]:
    events: list[Event] = []
    host = Host(folder / "state", folder / "cache")
    for made in (host.state, host.cache, folder / "kit"):
        made.mkdir(mode=0o700)
    problem = provider.probe(host, options)
    if problem is not None:
        pytest.skip(f"{provider.name}: {problem.reason}" + (f" ({problem.hint})" if problem.hint else ""))
    kit = guest_kit(folder / "kit")
    capabilities = provider.narrow(host, options, provider.capabilities)
    if kit.architecture not in capabilities.architectures:
        pytest.skip(f"{provider.name} runs no guests for {kit.architecture}")
    token = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, token)
        async with provider.create(evolve(host, emit=events.append), options) as vmm:
            yield Bench(provider, options, host, capabilities, vmm, kit, token, events)


@asynccontextmanager
async def _looked_at(bench: Bench) -> AsyncGenerator[Looked]:
    spec = bench.root()
    disks: tuple[Disk, ...] = ()
    room = bench.capabilities.max_disks - len(spec.disks) - (1 if bench.capabilities.shares else 0)
    if DiskFormat.RAW in bench.capabilities.disk_formats and room >= 2:
        first = bench.kit.blank_disk(READONLY, READONLY_BYTES, readonly=True)
        disks = (first, bench.kit.blank_disk(WRITABLE, b"", readonly=False))
    shares = _shares(bench) if bench.capabilities.shares else ()
    spec = evolve(
        spec,
        vcpus=VCPUS,
        memory=MEMORY,
        cmdline=WORDS,
        disks=(*spec.disks, *disks),
        shares=(*spec.shares, *shares),
    )
    mounts = [ShareMount(share.tag, f"/{share.tag}", share.readonly) for share in shares]
    async with bench.sandbox(spec, *mounts) as (machine, guest):
        yield Looked(spec, machine, guest, disks, *shares)


def _shares(bench: Bench) -> tuple[Share, Share]:
    made: list[Share] = []
    for tag in ("shared-ro", "shared-rw"):
        folder = bench.kit.folder / f"{tag}-{uuid.uuid4().hex}"
        folder.mkdir()
        (folder / "from-host").write_text("of the host\n")
        made.append(Share(tag, folder, readonly=tag.endswith("ro")))
    return made[0], made[1]
