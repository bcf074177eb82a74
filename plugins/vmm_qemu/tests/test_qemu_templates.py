"""Copies of real templates: they keep what machines promise, and whatever goes wrong with a template, a machine starts."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.image import blank, load, save
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.errors import GuestError
from monocore_core.interfaces.provider import Host, VmmProvider
from monocore_core.interfaces.vmm import Machine, TemplateVmm
from monocore_core.model.events import Began, Event, Warned
from monocore_core.model.machine import MachineSpec, Share
from monocore_core.model.network import GuestNetwork
from monocore_core.model.rootfs import RootKind
from monocore_core.preparing import greet
from monocore_core.testing.contracts.vmm_attachments import AttachmentClauses
from monocore_core.testing.contracts.vmm_base import guest_kit, root_of
from monocore_core.testing.contracts.vmm_inside import InsideClauses
from monocore_core.testing.guests import MIB, GuestKit, connected, run
from monocore_core.testing.processes import processes, settled, tree

PATIENCE = 60.0
pytestmark = pytest.mark.integration


class Copying:
    """QEMU, whose every machine is a copy."""

    def __init__(self, inner: TemplateVmm, events: list[Event]) -> None:
        self.inner = inner
        self.events = events

    async def start(self, spec: MachineSpec) -> Machine:
        reason = await self.inner.prepare(spec, greet)
        assert reason is None or "no header" in reason
        machine = await self.inner.start(spec)
        assert self.events[-1] == Began(spec.key, reason is None, reason or "")
        return machine

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        return await self.inner.adopt(spec)

    async def remove(self, key: str) -> None:
        await self.inner.remove(key)


@asynccontextmanager
async def copying(host: Host, options: QemuOptions) -> AsyncGenerator[Copying]:
    events: list[Event] = []
    async with PROVIDER.create(evolve(host, emit=events.append), options) as vmm:
        assert isinstance(vmm, TemplateVmm)
        yield Copying(vmm, events)


DISKS_ONLY = evolve(PROVIDER.capabilities, roots=frozenset({RootKind.DISK}), shares=False, templates=False)
COPIES = VmmProvider(
    name="copies",
    api=1,
    summary="copies of templates",
    rank=1,
    capabilities=DISKS_ONLY,
    options=QemuOptions,
    probe=PROVIDER.probe,
    create=copying,
)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="class")
class TestCopies(InsideClauses, AttachmentClauses):
    """What the contract says of the inside of a guest, and of its network, holds in a copy."""

    @pytest.fixture
    def provider(self) -> VmmProvider[QemuOptions]:
        return COPIES

    @pytest.fixture
    def user_network(self) -> GuestNetwork:
        return GuestNetwork("02:4d:43:00:00:01", (IPv4Interface("10.0.2.15/24"),), gateway4="10.0.2.2")

    @pytest.fixture
    def forwarding(self) -> bool:
        return True


class World:
    """A VMM with places of its own, and what it tells."""

    def __init__(self, folder: Path, kit: GuestKit) -> None:
        self.host = Host(folder / "state", folder / "cache", emit=self._heard)
        self.kit = kit
        self.events: list[Event] = []

    def _heard(self, event: Event) -> None:
        self.events.append(event)

    @property
    def templates(self) -> Path:
        return self.host.cache / "templates"

    def only_template(self) -> Path:
        (path,) = self.templates.glob("*.template")
        return path

    def spec(self) -> MachineSpec:
        return self.kit.spec(disks=(self.kit.root_disk(),))

    @asynccontextmanager
    async def vmm(self, options: QemuOptions | None = None) -> AsyncGenerator[TemplateVmm]:
        async with PROVIDER.create(self.host, options or QemuOptions()) as vmm:
            assert isinstance(vmm, TemplateVmm)
            yield vmm

    async def begins(self, vmm: TemplateVmm, spec: MachineSpec) -> Began:
        """Start and end a machine; what was told of its beginning."""
        machine = await vmm.start(spec)
        await machine.kill()
        await vmm.remove(spec.key)
        told = self.events[-1]
        assert isinstance(told, Began)
        return told


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Places with a template, made once; tests work on copies of them."""
    folder = tmp_path_factory.mktemp("prepared")
    world = World(folder, guest_kit(tmp_path_factory.mktemp("kit")))
    problem = PROVIDER.probe(world.host, QemuOptions())
    if problem is not None:
        pytest.skip(f"vmm_qemu: {problem.reason}")
    for place in (world.host.state, world.host.cache):
        place.mkdir()

    async def prepare() -> None:
        async with world.vmm() as vmm:
            assert await vmm.prepare(world.spec(), greet) is None

    asyncio.run(prepare())
    return world


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> World:
    for name in ("state", "cache"):
        shutil.copytree(getattr(prepared.host, name), tmp_path / name, symlinks=True)
    return World(tmp_path, prepared.kit)


async def test_a_template_serves_later_processes(world: World) -> None:
    async with world.vmm() as vmm:
        assert await world.begins(vmm, world.spec()) == Began(world.events[-1].sandbox, copied=True)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
    assert tree(world.templates) == {world.only_template().name}


async def test_a_copy_without_entropy_is_set_up_for_nobody(world: World) -> None:
    async with world.vmm() as vmm:
        spec = world.spec()
        async with connected(await vmm.start(spec)) as guest:
            with pytest.raises(GuestError, match="entropy"):
                await guest.setup(evolve(GuestKit.setup(root_of(spec)), entropy=b"e" * 31))
            with pytest.raises(GuestError, match="not set up"):
                await run(guest, "true")


async def test_a_damaged_template_is_removed_and_told_and_the_machine_boots(world: World) -> None:
    with world.only_template().open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"damage")
    async with world.vmm() as vmm:
        began = await world.begins(vmm, world.spec())
    assert not began.copied
    assert "damaged" in began.reason
    assert not tree(world.templates)
    assert any(isinstance(event, Warned) and "it was removed" in event.text for event in world.events)


async def test_a_template_whose_copies_do_not_run_goes_after_two_of_them(world: World) -> None:
    path = world.only_template()
    spec = world.spec()
    whole = load(path, spec.memory)
    spoilt = blank(spec.memory)
    os.pwrite(spoilt.state, os.pread(whole.state, 3000, 0) + b"nonsense" * 100, 0)
    path.unlink()
    save(spoilt, path)
    async with world.vmm() as vmm:
        for left in (True, False):
            began = await world.begins(vmm, world.spec())
            assert not began.copied
            assert "did not run" in began.reason
            assert path.exists() is left
        assert "no template" in (await world.begins(vmm, world.spec())).reason
    whole.close()
    spoilt.close()


async def test_a_machine_that_cannot_be_a_copy_says_why(world: World, tmp_path: Path) -> None:
    async with world.vmm() as vmm:
        assert "no template" in (await world.begins(vmm, evolve(world.spec(), memory=200 * MIB))).reason
        shared = evolve(world.spec(), shares=(Share("s", tmp_path),))
        assert "folders" in (await world.begins(vmm, shared)).reason
        assert "folders" in (await vmm.prepare(shared, greet) or "")
    async with world.vmm(QemuOptions(templates=False)) as vmm:
        assert "switched off" in (await world.begins(vmm, world.spec())).reason
        assert "switched off" in (await vmm.prepare(world.spec(), greet) or "")


async def test_two_who_want_the_same_template_make_it_once(world: World) -> None:
    world.only_template().unlink()
    async with world.vmm() as one, world.vmm() as other:
        said = await asyncio.gather(one.prepare(world.spec(), greet), other.prepare(world.spec(), greet))
        assert sorted(said, key=str) == [None, "another process makes its template"]
        assert await other.prepare(world.spec(), greet) is None
        assert (await world.begins(other, world.spec())).copied
    assert tree(world.templates) == {world.only_template().name}


_DIES = """
import asyncio, pickle, sys
from monocore_core.interfaces.provider import Host
from monocore_core.preparing import greet
from monocore_vmm_qemu import PROVIDER, QemuOptions
state, cache, spec = pickle.load(sys.stdin.buffer)
async def main():
    async with PROVIDER.create(Host(state, cache), QemuOptions()) as vmm:
        await vmm.prepare(spec, greet)
asyncio.run(main())
"""


async def test_a_maker_that_is_killed_leaves_nothing_that_runs_or_counts(world: World) -> None:
    world.only_template().unlink()
    before = processes(
        str(world.templates)
    )  # registries and daemons that fixtures of other tests keep descend from us, too
    maker = await asyncio.create_subprocess_exec(sys.executable, "-c", _DIES, stdin=subprocess.PIPE)
    assert maker.stdin is not None
    maker.stdin.write(pickle.dumps((world.host.state, world.host.cache, world.spec())))
    maker.stdin.close()

    def qemus() -> frozenset[int]:
        return processes(str(world.templates)) - before - {maker.pid}

    assert await settled(lambda: bool(qemus()), bool, PATIENCE), "no template was begun"
    maker.send_signal(signal.SIGKILL)
    await maker.wait()
    assert not await settled(qemus, lambda found: not found, PATIENCE), "its machine runs on"
    assert not list(world.templates.glob("*.template"))
    async with world.vmm() as vmm:
        assert await vmm.prepare(world.spec(), greet) is None
    assert tree(world.templates) == {world.only_template().name}
    assert not tree(world.host.state / "machines")
