"""Clauses of the VMM contract on machines that begin as copies of a template."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from attrs import evolve

from monocore_core.guest.client import Guest
from monocore_core.interfaces.vmm import GuestChannel, TemplateVmm
from monocore_core.model.events import Began
from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.rootfs import DiskFormat
from monocore_core.preparing import greet
from monocore_core.testing.contracts.vmm_base import MEMORY, PATIENCE, Before, Bench, VmmFixtures, root_of
from monocore_core.testing.guests import MIB, GuestKit, connected, device_script, run
from monocore_core.testing.processes import settled

#: Seconds for a template, whose making yields to everything else.
_MAKING = 8 * PATIENCE
#: Seconds since the epoch, in 2033.
_THEN = 2_000_000_000
_OWN = b"of this one alone"
#: What no two machines may have in common: random numbers of every source, the kernel's identity, places of programs in memory.
_SECRETS = (
    "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid",
    "head -c 16 /dev/urandom | od -An -tx1",
    "head -c 16 /dev/random | od -An -tx1",
    "grep -m 1 -F '[stack]' /proc/self/maps | cut -d- -f1",
    "cat /proc/self/stat | cut -d' ' -f28",
)


class TemplateClauses(VmmFixtures):
    """Copies of a template are machines like others, and have nothing of each other."""

    async def test_a_prepared_shape_starts_as_a_copy(self, bench: Bench) -> None:
        """``TemplateVmm.prepare``: later machines like the one that was started need not boot; ``Began`` says so."""
        spec = bench.root()
        await _prepared(bench, spec)
        async with bench.sandbox(spec) as (machine, guest):
            assert (await run(guest, "echo here")).text == "here"
            assert _copied(bench, machine.key), "the machine has booted"

    async def test_copies_have_no_secret_in_common(self, bench: Bench) -> None:
        """A copy that was set up is as individual as a machine that booted."""
        await _prepared(bench, bench.root())
        said: list[list[str]] = []
        for number in range(2):
            spec = bench.root()
            async with bench.started(spec) as machine, connected(machine) as guest:
                seconds = _THEN + 3600 * number
                named = evolve(GuestKit.setup(root_of(spec)), hostname=f"number{number}")
                await guest.setup(evolve(named, time_ns=seconds * 1_000_000_000))
                name, now = (await run(guest, "hostname; date +%s")).text.splitlines()
                assert name == f"number{number}"
                assert 0 <= int(now) - seconds < PATIENCE, "the guest's clock is not what it was set to"
                said.append((await run(guest, "; ".join(_SECRETS))).text.splitlines())
        assert len(said[0]) == len(said[1]) == len(_SECRETS) + 1, said
        common = [one for one, other in zip(*said, strict=True) if one == other]
        assert not common, f"two copies have this in common: {common}"

    async def test_a_copy_has_its_own_disks(self, bench: Bench) -> None:
        """Their content, and their sizes; what is read-only stays so."""
        bench.need(DiskFormat.RAW in bench.capabilities.disk_formats, "raw disks")
        bench.need(bench.capabilities.max_disks > len(bench.root().disks), "room for a further disk")
        await _prepared(bench, _with_disk(bench, b"of the first"))
        spec = _with_disk(bench, _OWN, 3 * MIB)
        async with bench.sandbox(spec) as (machine, guest):
            assert _copied(bench, machine.key), "the machine has booted"
            script = device_script("own") + f"head -c {len(_OWN)} $node; echo; cat /sys/block/$name/ro"
            assert (await run(guest, script)).text.splitlines() == [_OWN.decode(), "1"]
            await _sized(guest, 3 * MIB)
            done = await run(guest, device_script("own") + "echo x > $node && sync $node")
            assert done.code, "a read-only disk was written"

    async def test_a_repeated_prepare_does_nothing(self, bench: Bench) -> None:
        """``TemplateVmm.prepare``: a repeat boots nothing."""
        spec = bench.root()
        await _prepared(bench, spec)

        async def surprised(channel: GuestChannel) -> None:
            await channel.aclose()
            raise AssertionError("a template was made again")

        async with asyncio.timeout(PATIENCE):
            assert await _vmm(bench).prepare(spec, surprised) is None

    async def test_a_prepare_that_is_cancelled_leaves_nothing(self, bench: Bench) -> None:
        """``TemplateVmm.prepare``: neither process nor file nor descriptor; it can be asked again."""
        spec = evolve(bench.root(), memory=MEMORY + MIB)
        vmm = _vmm(bench)
        before = Before.of(bench)
        task = asyncio.create_task(vmm.prepare(spec, greet))
        await settled(
            lambda: bool(bench.processes() - before.processes) or task.done(), lambda seen: seen, PATIENCE
        )
        task.cancel()
        with suppress(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                await task
        await before.check_processes()
        await before.check_descriptors()
        before.check_files(spec)


def _vmm(bench: Bench) -> TemplateVmm:
    bench.need(bench.capabilities.templates, "templates")
    vmm = bench.vmm
    assert isinstance(vmm, TemplateVmm), "a VMM with templates has no method to prepare them"
    return vmm


async def _prepared(bench: Bench, spec: MachineSpec) -> None:
    async with asyncio.timeout(_MAKING):
        assert await _vmm(bench).prepare(spec, greet) is None


def _copied(bench: Bench, key: str) -> bool:
    told = [event for event in bench.events if isinstance(event, Began) and event.sandbox == key]
    assert len(told) == 1, f"how machine {key} began was told {len(told)} times"
    return told[0].copied


def _with_disk(bench: Bench, content: bytes, size: int = MIB) -> MachineSpec:
    spec = bench.root()
    path = bench.kit.blank_disk("own", content, readonly=True, size=size)
    return evolve(spec, disks=(*spec.disks, Disk("own", path.path, readonly=True, files=path.files)))


async def _sized(guest: Guest, size: int) -> None:
    """The guest's kernel learns a disk's size when it is told, which nobody waits for."""
    script = device_script("own") + "cat /sys/block/$name/size"
    wanted = str(size // 512)
    async with asyncio.timeout(PATIENCE):
        while (said := (await run(guest, script)).text) != wanted:
            assert said.isdigit(), said
