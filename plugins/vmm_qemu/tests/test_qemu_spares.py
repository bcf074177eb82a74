"""Spares: they become machines like others, of their own; whatever goes wrong with one, a machine starts, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.errors import GuestError, MachineError
from monocore_core.interfaces.vmm import Settled, StockingVmm
from monocore_core.model.events import Began, Warned
from monocore_core.model.guest import GuestSetup, ProcessSpec, TmpfsMount
from monocore_core.model.machine import DiskLimits, MachineSpec, Spare
from monocore_core.model.network import UserMode
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.model.rootfs import DiskFormat
from monocore_core.preparing import greet, rehearse
from monocore_core.roles import Habit, renewal_of, settler
from monocore_core.testing.contracts.vmm_base import guest_kit, root_of
from monocore_core.testing.guests import MIB, GuestKit, connected, device_script, run
from monocore_core.testing.places import VmmPlace
from monocore_core.testing.processes import alive, settled, tree

PATIENCE = 60.0
OWN = b"of this one alone"
PROGRAM = ("busybox", "true")
pytestmark = [pytest.mark.integration, pytest.mark.slow]


class World(VmmPlace):
    """A place for spares."""

    @asynccontextmanager
    async def vmm(self) -> AsyncGenerator[StockingVmm]:
        async with PROVIDER.create(self.host, QemuOptions()) as vmm:
            assert isinstance(vmm, StockingVmm)
            yield vmm

    def spec(self) -> MachineSpec:
        return evolve(self.kit.spec(disks=(self.kit.root_disk(DiskFormat.VMDK),)), foreground=False)

    def left(self) -> frozenset[str]:
        return tree(self.host.state / "spares") | tree(self.host.state / "machines")

    def began(self) -> Began:
        return [event for event in self.events if isinstance(event, Began)][-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("spares"), guest_kit(tmp_path_factory.mktemp("kit")))
    made.prepare(PROVIDER.probe(made.host, QemuOptions()))
    return made


@pytest.fixture(autouse=True)
def nothing_told(world: World) -> None:
    world.events.clear()


async def stocked(vmm: StockingVmm, spec: MachineSpec) -> Spare:
    assert await vmm.prepare(spec, greet) is None
    spare = await vmm.stock(spec, rehearse)
    assert isinstance(spare, Spare), spare
    return spare


async def ended(vmm: StockingVmm, spec: MachineSpec) -> None:
    machine = await vmm.adopt(spec)
    if machine is not None:
        await machine.kill()
    await vmm.remove(spec.key)


async def test_machines_made_of_spares_are_individuals(world: World) -> None:
    secrets = "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1"
    said: list[list[str]] = []
    async with world.vmm() as vmm:
        spares = [await stocked(vmm, world.spec()) for _ in range(2)]
        assert set(vmm.spares()) == set(spares)
        for number in range(2):
            spec = world.spec()
            try:
                async with connected(await vmm.start(spec)) as guest:
                    assert world.began() == Began(spec.key, copied=True, spare=True)
                    await guest.setup(evolve(GuestKit.setup(root_of(spec)), hostname=f"number{number}"))
                    said.append((await run(guest, f"hostname; {secrets}")).text.splitlines())
                    assert (await run(guest, "ls -a / /tmp /run; hostname")).text.count("rehearsal") == 0
            finally:
                await ended(vmm, spec)
        assert not vmm.spares()
    assert [lines[0] for lines in said] == ["number0", "number1"]
    assert len(said[0]) == 4
    assert not set(said[0]) & set(said[1])
    assert not world.left()


async def test_a_spare_without_entropy_is_set_up_for_nobody(world: World) -> None:
    async with world.vmm() as vmm:
        await stocked(vmm, world.spec())
        spec = world.spec()
        try:
            async with connected(await vmm.start(spec)) as guest:
                assert world.began().spare
                with pytest.raises(GuestError, match="entropy"):
                    await guest.setup(evolve(GuestKit.setup(root_of(spec)), entropy=b"e" * 31))
        finally:
            await ended(vmm, spec)


async def test_a_spare_gets_disks_of_every_kind(world: World) -> None:
    def spec(content: bytes, size: int) -> MachineSpec:
        made = world.spec()
        read = world.kit.blank_disk("read", content, readonly=True, size=size)
        write = world.kit.blank_disk("write", content, readonly=False, size=size)
        return evolve(made, disks=(*made.disks, read, evolve(write, limits=DiskLimits(write=64 * MIB))))

    async with world.vmm() as vmm:
        await stocked(vmm, spec(b"x", MIB))
        mine = spec(OWN, 3 * MIB)
        try:
            async with connected(await vmm.start(mine)) as guest:
                assert world.began().spare
                await guest.setup(GuestKit.setup(root_of(mine)))
                for name, readonly in (("read", "1"), ("write", "0")):
                    script = device_script(name) + f"head -c {len(OWN)} $node; echo; cat /sys/block/$name/ro"
                    assert (await run(guest, script)).text.splitlines() == [OWN.decode(), readonly]
                    size = (await run(guest, device_script(name) + "cat /sys/block/$name/size")).text
                    assert int(size) * 512 == 3 * MIB
                assert (await run(guest, device_script("read") + "echo x > $node && sync $node")).code
                assert not (await run(guest, device_script("write") + "echo new > $node && sync $node")).code
            assert mine.disks[2].path.read_bytes().startswith(b"new\n")
            assert mine.disks[1].path.read_bytes().startswith(OWN)
        finally:
            await ended(vmm, mine)
    assert not world.left()


def held_of(pid: int) -> frozenset[Path]:
    """Files that a process has open."""
    return frozenset(link.readlink() for link in Path("/proc", str(pid), "fd").iterdir())


async def test_disks_that_machines_share_wait_below_a_spare_and_no_others_stay_there(world: World) -> None:
    def spec(content: bytes) -> MachineSpec:
        made = world.spec()
        return evolve(
            made, disks=(*made.disks, world.kit.blank_disk("read", content, readonly=True, size=MIB))
        )

    before = spec(b"before")
    root, read = before.disks
    async with world.vmm() as vmm:
        for mine in (evolve(spec(b""), disks=before.disks), spec(OWN)):
            spare = await stocked(vmm, before)
            extents = {path for path in root.files if path.suffix == ".extent"}
            assert extents
            assert {read.path, *extents} <= held_of(spare.pid)
            try:
                machine = await vmm.start(mine)
                async with connected(machine) as guest:
                    assert world.began().spare
                    assert (read.path in held_of(machine.pid)) == (mine.disks[1] == read)
                    assert mine.disks[1].path in held_of(machine.pid)
                    await guest.setup(GuestKit.setup(root_of(mine)))
                    said = mine.disks[1].path.read_bytes()[:6]
                    assert (await run(guest, device_script("read") + "head -c 6 $node")).text.encode() == said
            finally:
                await ended(vmm, mine)
        read.path.write_bytes(b"after".ljust(MIB, b"."))  # of the same size, within the same second
        await stocked(vmm, before)
        read.path.unlink()
        read.path.write_bytes(b"anew".ljust(MIB, b"."))
        mine = evolve(spec(b""), disks=before.disks)
        try:
            async with connected(await vmm.start(mine)) as guest:
                assert world.began().spare
                await guest.setup(GuestKit.setup(root_of(mine)))
                assert (await run(guest, device_script("read") + "head -c 5 $node")).text == "anew."
        finally:
            await ended(vmm, mine)
        read.path.unlink()  # what is not there any more lies below none, and is no error
        await vmm.unstock((await stocked(vmm, before)).id)
    assert not world.left()


def of_role(world: World, role: str = "one") -> tuple[MachineSpec, GuestSetup]:
    spec = world.spec()
    return evolve(spec, role=role), evolve(GuestKit.setup(root_of(spec)), tied=False)


async def settled_one(vmm: StockingVmm, spec: MachineSpec, setup: GuestSetup) -> Spare:
    assert await vmm.prepare(spec, greet) is None
    habit = Habit(ImageConfig(Platform.host(), ()))
    habit.note(PROGRAM[0])
    spare = await vmm.stock(spec, rehearse, settler(setup, habit))
    assert isinstance(spare, Spare), spare
    assert spare.role == spec.role
    return spare


async def test_a_machine_of_a_role_has_its_root_and_its_program_in_memory_and_is_an_individual(
    world: World,
) -> None:
    secrets = "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1"
    said: list[list[str]] = []
    async with world.vmm() as vmm:
        mine = [of_role(world) for _ in range(2)]
        for spec, setup in mine:
            await settled_one(vmm, spec, setup)
        for number, (spec, setup) in enumerate(mine):
            who = evolve(setup, hostname=f"number{number}", entropy=bytes([number]) * 64)
            try:
                machine = await vmm.start(spec)
                assert isinstance(machine, Settled)
                assert machine.settled
                async with connected(machine) as guest:
                    assert world.began().spare
                    assert guest.ready
                    await guest.release(renewal_of(who))
                    read = (await guest.stats()).disk_read_bytes
                    assert not (await (await guest.spawn(ProcessSpec(PROGRAM))).wait()).code
                    assert (await guest.stats()).disk_read_bytes == read
                    said.append(
                        (await run(guest, f"hostname; cat /etc/hostname; {secrets}")).text.splitlines()
                    )
                    assert (await run(guest, "grep number /etc/hosts")).text == f"127.0.1.1\tnumber{number}"
                    assert (await run(guest, "grep nobody /etc/host* /proc/mounts")).code
                    assert not (await run(guest, "echo new > /etc/hosts && touch /here")).code
            finally:
                await ended(vmm, spec)
        assert not vmm.spares()
    assert [lines[:2] for lines in said] == [["number0"] * 2, ["number1"] * 2]
    assert len(said[0]) == 5
    assert not set(said[0]) & set(said[1])
    assert not world.left()


async def test_a_machine_of_a_role_may_have_a_root_that_nobody_can_write(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = of_role(world)
        setup = evolve(setup, upper=None)
        await settled_one(vmm, spec, setup)
        try:
            async with connected(await vmm.start(spec)) as guest:
                assert guest.ready
                await guest.release(renewal_of(evolve(setup, hostname="mine")))
                assert (await run(guest, "hostname; cat /etc/hostname")).text == "mine\nmine"
                assert (await run(guest, "touch /here")).code
                assert (await run(guest, "echo more >> /etc/hosts")).code
        finally:
            await ended(vmm, spec)
    assert not world.left()


async def test_what_was_set_up_for_one_role_serves_no_other_and_no_other_files(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = of_role(world)
        image = world.kit.root_disk(DiskFormat.VMDK).path.read_bytes()
        copied = spec.directory / "image.vmdk"
        copied.write_bytes(image)
        spec = evolve(spec, disks=(evolve(spec.disks[0], path=copied),))
        await settled_one(vmm, spec, setup)
        (other, _), nobody = of_role(world, "two"), world.spec()
        for wanted in (other, nobody):
            try:
                machine = await vmm.start(wanted)
                assert isinstance(machine, Settled)
                assert not machine.settled
                async with connected(machine) as guest:
                    assert not guest.ready
                    assert not world.began().spare
            finally:
                await ended(vmm, wanted)
        assert len(vmm.spares()) == 1
        any_of_shape = await stocked(vmm, nobody)
        assert any_of_shape.role == ""
        copied.unlink()
        copied.write_bytes(image)  # of the same name, and another file
        mine = evolve(of_role(world)[0], disks=spec.disks)
        try:
            async with connected(await vmm.start(mine)) as guest:
                assert world.began().spare
                assert not guest.ready
                await guest.setup(GuestKit.setup(root_of(mine)))
        finally:
            await ended(vmm, mine)
        assert not vmm.spares()  # the one that was set up with the file that has gone was ended
    assert not world.left()


async def test_a_guest_that_cannot_be_set_up_leaves_no_spare(world: World) -> None:
    async with world.vmm() as vmm:
        spec, setup = of_role(world)
        assert await vmm.prepare(spec, greet) is None
        broken = evolve(setup, mounts=(TmpfsMount("/dev/null/below"),))
        with pytest.raises(GuestError, match="cannot mount"):
            await vmm.stock(spec, rehearse, settler(broken, Habit(ImageConfig(Platform.host(), ()))))
        own = evolve(spec, disks=(*spec.disks, world.kit.blank_disk("w", b"", readonly=False, size=MIB)))
        habit = Habit(ImageConfig(Platform.host(), ()))
        assert "disk w is its own" in str(await vmm.stock(own, rehearse, settler(setup, habit)))
        assert not vmm.spares()
    assert not world.left()


async def test_what_a_spare_cannot_be_is_said_and_starts_all_the_same(world: World) -> None:
    async with world.vmm() as vmm:
        spare = await stocked(vmm, world.spec())
        tied = evolve(world.spec(), foreground=True)
        assert "end with the process" in str(await vmm.stock(tied, rehearse))
        assert "network" in str(
            await vmm.stock(evolve(world.spec(), attachment=UserMode("02:4d:43:00:00:01")), rehearse)
        )
        machine = await vmm.start(tied)
        assert not world.began().spare
        await machine.kill()
        await vmm.remove(tied.key)
        lost = evolve(world.spec(), disks=(evolve(world.spec().disks[0], path=Path("/nowhere")),))
        with pytest.raises(MachineError, match="nowhere"):
            await vmm.start(lost)
        assert any(isinstance(event, Warned) and "could not be used" in event.text for event in world.events)
        assert spare not in vmm.spares()
        await vmm.remove(lost.key)
        await vmm.unstock(spare.id)
        last = await stocked(vmm, world.spec())
        await vmm.unstock(last.id)
        assert not vmm.spares()
    assert not world.left()


async def test_one_that_hangs_holds_no_start_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monocore_vmm_qemu.spares._TAKING", 0.5)
    async with world.vmm() as vmm:
        spare = await stocked(vmm, world.spec())
        os.kill(spare.pid, signal.SIGSTOP)
        spec = world.spec()
        try:
            async with connected(await vmm.start(spec)):
                assert world.began() == Began(spec.key, copied=True)
        finally:
            await ended(vmm, spec)
        assert any(isinstance(event, Warned) and "did not answer" in event.text for event in world.events)
        assert not vmm.spares()
        assert not alive(spare.pid)
    assert not world.left()


_DIES = """
import asyncio, pickle, sys
from monocore_core.interfaces.provider import Host
from monocore_core.preparing import greet, rehearse
from monocore_vmm_qemu import PROVIDER, QemuOptions
state, cache, security, spec, taken = pickle.load(sys.stdin.buffer)
async def main():
    async with PROVIDER.create(Host(state, cache, security=security), QemuOptions()) as vmm:
        assert await vmm.prepare(spec, greet) is None
        await vmm.stock(spec, rehearse)
        machine = await vmm.start(taken)
        spare = await vmm.stock(spec, rehearse)
        print(machine.pid, spare.pid, flush=True)
        await vmm.stock(spec, rehearse)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_spares_of_a_process_that_was_killed_are_ended_and_what_was_taken_runs_on(world: World) -> None:
    taken = world.spec()
    maker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DIES, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert maker.stdin is not None
    assert maker.stdout is not None
    given = (world.host.state, world.host.cache, world.host.security, world.spec(), taken)
    maker.stdin.write(pickle.dumps(given))
    maker.stdin.close()
    machine, spare = map(int, (await maker.stdout.readline()).split())
    maker.send_signal(signal.SIGKILL)  # as it makes another
    await maker.wait()
    async with world.vmm() as vmm:
        assert not await settled(
            lambda: Path("/proc", str(spare), "cmdline").exists(), lambda lives: not lives, PATIENCE
        )
        found = await vmm.adopt(taken)
        assert found is not None
        assert found.pid == machine
        async with connected(found) as guest:
            await guest.setup(GuestKit.setup(root_of(taken)))
            assert (await run(guest, "echo here")).text == "here"
        await ended(vmm, taken)
    assert not world.left()
