"""Settled templates: their copies are set up already and are individuals all the same; where one cannot serve, a machine starts as before."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface

import pytest
from attrs import evolve
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.capture import Work
from monocore_vmm_qemu.image import Captured, blank
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.errors import GuestError
from monocore_core.interfaces.vmm import Greeter, GuestChannel, Machine, Settled, SettlingVmm, StockingVmm
from monocore_core.model.events import Began, Warned
from monocore_core.model.guest import GuestSetup, TmpfsMount
from monocore_core.model.machine import Disk, MachineEnd, MachineSpec, Spare
from monocore_core.model.network import Tap, UserMode
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.model.rootfs import DiskFormat
from monocore_core.preparing import greet, rehearse
from monocore_core.roles import Habit, renewal_of, settler
from monocore_core.testing.contracts.vmm_base import guest_kit, root_of
from monocore_core.testing.guests import MIB, GuestKit, connected, interface_script, private_network, run
from monocore_core.testing.places import VmmPlace
from monocore_core.testing.processes import processes, settled, tree
from monocore_core.testing.taps import host_tap

PATIENCE = 120.0
#: What no two machines may have in common.
SECRETS = (
    "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid",
    "head -c 16 /dev/urandom | od -An -tx1",
    "grep -m 1 -F '[stack]' /proc/self/maps | cut -d- -f1",
    "cat /proc/self/stat | cut -d' ' -f28",
)
pytestmark = [pytest.mark.integration, pytest.mark.slow]


class World(VmmPlace):
    """A place for templates."""

    @cached_property
    def disk(self) -> Disk:
        """As all sandboxes of an image have it."""
        return self.kit.root_disk(DiskFormat.VMDK)

    @asynccontextmanager
    async def vmm(self) -> AsyncGenerator[SettlingVmm]:
        async with PROVIDER.create(self.host, QemuOptions()) as vmm:
            assert isinstance(vmm, SettlingVmm)
            yield vmm

    def of_role(self, role: str = "one") -> tuple[MachineSpec, GuestSetup]:
        spec = self.kit.spec(disks=(self.disk,))
        setup = evolve(GuestKit.setup(root_of(spec)), tied=False)
        return evolve(spec, foreground=False, role=role), setup

    def left(self) -> frozenset[str]:
        return frozenset(
            name
            for name in tree(self.host.state / "machines") | tree(self.host.cache / "templates")
            if not name.endswith(".template")
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("settled"), guest_kit(tmp_path_factory.mktemp("kit")))
    made.prepare(PROVIDER.probe(made.host, QemuOptions()))
    return made


@pytest.fixture(autouse=True)
def nothing_told(world: World) -> None:
    world.events.clear()


def sets_up(setup: GuestSetup) -> Greeter:
    return settler(setup, Habit(ImageConfig(Platform.host(), ())))


async def prepared(vmm: SettlingVmm, spec: MachineSpec, setup: GuestSetup) -> None:
    assert await vmm.prepare(spec, greet) is None
    assert await vmm.prepare_role(spec, greet, sets_up(setup)) is None


def is_settled(machine: Machine) -> bool:
    assert isinstance(machine, Settled)
    return machine.settled


@asynccontextmanager
async def started(vmm: SettlingVmm, spec: MachineSpec) -> AsyncGenerator[Machine]:
    try:
        yield await vmm.start(spec)
    finally:
        machine = await vmm.adopt(spec)
        if machine is not None:
            await machine.kill()
        await vmm.remove(spec.key)


async def surprised(channel: GuestChannel) -> None:
    await channel.aclose()
    raise AssertionError("it was made again")


async def test_copies_are_set_up_and_have_nothing_in_common(world: World) -> None:
    said: list[list[str]] = []
    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        await prepared(vmm, spec, setup)
        assert not world.left()
        assert await vmm.prepare_role(spec, surprised, surprised) is None
        for number in range(2):
            mine, setup = world.of_role()
            who = evolve(setup, hostname=f"number{number}", entropy=bytes([number]) * 64)
            async with started(vmm, mine) as machine, connected(machine) as guest:
                assert is_settled(machine)
                assert Began(mine.key, copied=True) in world.events
                assert guest.ready
                with pytest.raises(GuestError, match="entropy"):
                    await guest.release(renewal_of(evolve(who, entropy=bytes(31))))
                await guest.release(renewal_of(who))
                assert (
                    await run(guest, "hostname; cat /etc/hostname")
                ).text == f"number{number}\nnumber{number}"
                assert not (await run(guest, "echo new > /etc/hosts && touch /here")).code
                said.append((await run(guest, "; ".join(SECRETS))).text.splitlines())
                assert (await run(guest, "ls -a / /tmp /run")).text.count("rehearsal") == 0
    assert len(said[0]) == len(said[1]) == len(SECRETS) + 1
    assert not set(said[0]) & set(said[1])
    assert not world.left()


async def test_one_serves_its_role_and_its_files_alone(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        image = spec.directory / "image.vmdk"
        image.write_bytes(spec.disks[0].path.read_bytes())
        disks = (evolve(spec.disks[0], path=image),)
        await prepared(vmm, evolve(spec, disks=disks), setup)
        for role in ("two", ""):
            other, _ = world.of_role(role)
            async with started(vmm, evolve(other, disks=disks)) as machine:
                assert not is_settled(machine)
        content = image.read_bytes()
        image.unlink()
        image.write_bytes(content)
        mine = evolve(world.of_role()[0], disks=disks)
        async with started(vmm, mine) as machine, connected(machine) as guest:
            assert not is_settled(machine)
            assert not guest.ready
            await guest.setup(setup)
        await prepared(vmm, mine, setup)
        async with started(vmm, evolve(world.of_role()[0], disks=disks)) as machine:
            assert is_settled(machine)
    assert not world.left()


async def test_a_spare_goes_before_a_copy(world: World) -> None:
    async with world.vmm() as vmm:
        assert isinstance(vmm, StockingVmm)
        spec, setup = world.of_role()
        await prepared(vmm, spec, setup)
        assert isinstance(await vmm.stock(spec, rehearse, sets_up(setup)), Spare)
        for spare in (True, False):
            mine, _ = world.of_role()
            async with started(vmm, mine) as machine:
                assert is_settled(machine)
                assert Began(mine.key, copied=True, spare=spare) in world.events


async def test_each_copy_is_given_a_network_of_its_own(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        await prepared(vmm, evolve(spec, attachment=UserMode("02:4d:43:00:00:00")), setup)
        for number in (1, 2):
            mac, address = f"02:4d:43:00:00:0{number}", f"192.0.2.{number}0"
            network = evolve(
                private_network(mac),
                addresses=(IPv4Interface(f"{address}/24"),),
                nameservers=(f"192.0.2.5{number}",),
                hosts=(("192.0.2.9", f"friend{number}"),),
            )
            mine = evolve(world.of_role()[0], attachment=UserMode(mac))
            async with started(vmm, mine) as machine, connected(machine) as guest:
                assert is_settled(machine)
                await guest.release(renewal_of(evolve(setup, hostname="mine", network=network)))
                said = await run(guest, interface_script(mac) + "ip -4 addr show dev $name; ip route")
                assert [line.split()[1] for line in said.text.splitlines() if "inet " in line] == [
                    f"{address}/24"
                ]
                assert "default via 192.0.2.1" in said.text
                files = (await run(guest, "cat /etc/resolv.conf /etc/hosts; ls -a /etc")).text
                assert f"nameserver 192.0.2.5{number}\n" in files
                assert f"{address}\tmine\n" in files
                assert f"192.0.2.9\tfriend{number}\n" in files
                assert "nobody" not in files
                assert ".monocore" not in files
    assert not world.left()


async def test_a_copy_is_tied_when_it_is_told_so(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        await prepared(vmm, spec, setup)
        mine = evolve(world.of_role()[0], foreground=True)
        async with started(vmm, mine) as machine:
            assert is_settled(machine)
            async with connected(machine) as guest:
                await guest.release(renewal_of(setup))
            async with connected(machine) as guest:  # it was tied to nobody
                await guest.release(renewal_of(evolve(setup, tied=True)))
            async with asyncio.timeout(PATIENCE):
                assert (await machine.wait()).end is MachineEnd.SHUTDOWN
    assert not world.left()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a tap device")
async def test_a_copys_frames_go_through_its_own_tap(world: World) -> None:
    mac = "02:4d:43:00:00:01"
    network = private_network(mac)
    async with world.vmm() as vmm, host_tap(opened=False) as tap:
        spec, setup = world.of_role()
        mine = evolve(spec, attachment=Tap(tap.name, mac))
        await prepared(vmm, mine, setup)
        async with started(vmm, mine) as machine, connected(machine) as guest:
            assert is_settled(machine)
            await guest.release(renewal_of(evolve(setup, network=network)))
            answering = asyncio.create_task(tap.answer(IPv4Address(network.gateway4)))
            await run(guest, f"ping -c 1 -W 1 {network.gateway4}; true")
            async with asyncio.timeout(PATIENCE):
                assert (await answering).hex(":") == mac


async def test_what_cannot_be_set_up_before_is_said(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        await prepared(vmm, spec, setup)
        written = world.kit.blank_disk("w", b"", readonly=False, size=MIB)
        for wrong, reason in (
            (evolve(spec, disks=(*spec.disks, written)), "disk w is its own"),
            (evolve(spec, role=""), "nothing is known"),
            (evolve(spec, memory=spec.memory + 64 * MIB), "no template"),
        ):
            assert reason in str(await vmm.prepare_role(wrong, greet, sets_up(setup)))
        broken = evolve(setup, mounts=(TmpfsMount("/dev/null/below"),))
        other, _ = world.of_role("broken")
        with pytest.raises(GuestError, match="cannot mount"):
            await vmm.prepare_role(other, greet, sets_up(broken))
        async with started(vmm, other) as machine:
            assert not is_settled(machine)
    assert not world.left()


async def test_one_whose_copies_do_not_run_is_let_go_and_the_machine_starts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def spoilt(_: Work, spec: MachineSpec, *rest: object) -> Captured:
        del rest
        made = blank(spec.memory)
        os.pwrite(made.state, b"nonsense" * 100, 0)
        return made

    async def untried(*_: object) -> None:
        return

    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        with monkeypatch.context() as patch:
            patch.setattr(Work, "settle", spoilt)
            patch.setattr(Work, "rehearse", untried)
            assert await vmm.prepare(spec, greet) is None
            assert await vmm.prepare_role(spec, greet, sets_up(setup)) is None
        mine, setup = world.of_role()
        async with started(vmm, mine) as machine, connected(machine) as guest:
            assert not is_settled(machine)
            assert Began(mine.key, copied=True) in world.events
            await guest.setup(setup)
        told = [event.text for event in world.events if isinstance(event, Warned)]
        assert len(told) == 1
        assert "another is started" in told[0]
        world.events.clear()
        mine, _ = world.of_role()
        async with started(vmm, mine) as machine:
            assert not is_settled(machine)
        assert not [event for event in world.events if isinstance(event, Warned)], "it was tried again"
    assert not world.left()


async def test_cancelled_it_leaves_nothing_and_can_be_asked_again(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = world.of_role()
        assert await vmm.prepare(spec, greet) is None
        before = processes()

        async def hangs(channel: GuestChannel) -> None:
            reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                await channel.aclose()

        for asked in ((greet, hangs), (hangs, sets_up(setup))):
            reached = asyncio.Event()
            task = asyncio.create_task(vmm.prepare_role(spec, *asked))
            async with asyncio.timeout(PATIENCE):
                await reached.wait()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            assert not await settled(lambda: processes() - before, lambda found: not found, PATIENCE)
            assert not world.left()
        await prepared(vmm, spec, setup)
        async with started(vmm, world.of_role()[0]) as machine:
            assert is_settled(machine)


_DIES = """
import asyncio, pickle, sys
from monocore_core.interfaces.provider import Host
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.preparing import greet
from monocore_core.roles import Habit, settler
from monocore_vmm_qemu import PROVIDER, QemuOptions
state, cache, spec, setup = pickle.load(sys.stdin.buffer)
async def main():
    async with PROVIDER.create(Host(state, cache), QemuOptions()) as vmm:
        await vmm.prepare_role(spec, greet, settler(setup, Habit(ImageConfig(Platform.host(), ()))))
asyncio.run(main())
"""


async def test_killed_while_it_is_made_it_leaves_nothing_that_runs_or_counts(world: World) -> None:
    spec, setup = world.of_role()
    async with world.vmm() as vmm:
        assert await vmm.prepare(spec, greet) is None
    templates = str(world.host.cache / "templates")
    before = processes(templates)
    maker = await asyncio.create_subprocess_exec(sys.executable, "-c", _DIES, stdin=subprocess.PIPE)
    assert maker.stdin is not None
    maker.stdin.write(pickle.dumps((world.host.state, world.host.cache, spec, setup)))
    maker.stdin.close()

    def qemus() -> frozenset[int]:
        return processes(templates) - before - {maker.pid}

    assert await settled(lambda: bool(qemus()), bool, PATIENCE), "nothing was begun"
    maker.send_signal(signal.SIGKILL)
    await maker.wait()
    assert not await settled(qemus, lambda found: not found, PATIENCE), "its machine runs on"
    async with world.vmm() as vmm:
        assert not world.left()
        await prepared(vmm, spec, setup)
        async with started(vmm, world.of_role()[0]) as machine:
            assert is_settled(machine)
    assert not world.left()
