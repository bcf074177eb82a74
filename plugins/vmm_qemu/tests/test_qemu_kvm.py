"""Machines under KVM that truly works: the host's, or the one that `make test-kvm` makes one level down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from monocore_vmm_qemu import CAPABILITIES
from monocore_vmm_qemu.accel import Trust, Verdicts
from monocore_vmm_qemu.options import AccelChoice, QemuOptions
from monocore_vmm_qemu.probe import probe
from monocore_vmm_qemu.vmm import open_vmm

from monocore_core.interfaces.provider import Host
from monocore_core.interfaces.vmm import GuestChannel
from monocore_core.model.machine import Disk, MachineEnd, MachineSpec
from monocore_core.vmmkit.guestkernel import find_source, prepare
from monocore_core.vmmkit.kvm import kvm_problem
from monocore_core.vmmkit.process import boot_id

pytestmark = [pytest.mark.integration, pytest.mark.kvm]
SpecMaker = Callable[..., MachineSpec]
#: Seconds for a machine to boot and answer, in a guest in a guest on a busy host.
PATIENCE = 90.0


async def exchange(channel: GuestChannel, text: bytes) -> bytes:
    """Send a line, and read as much as the guest's echo of it."""
    await channel.write(text)
    got = b""
    while len(got) < len(text):
        piece = await channel.read(65536)
        assert piece, f"the channel ended after {len(got)} bytes"
        got += piece
    return got


def verdict(host: Host) -> Trust:
    source = find_source(None, "amd64")
    assert source is not None
    kernel = prepare(source, "amd64", host.cache)
    return Verdicts(host.state / "kvm.json", boot_id()).trust(kernel.digest)


def test_the_probe_finds_nothing_missing(host: Host) -> None:
    assert kvm_problem(Path("/"), "amd64") is None
    assert probe(host, QemuOptions(accel=AccelChoice.KVM)) is None


async def test_a_machine_under_kvm_answers_and_ends(host: Host, spec: SpecMaker, boot_disk: Path) -> None:
    root = host.cache / "kvm-root.img"
    root.write_bytes(b"extent-1" + bytes(1024 * 1024 - 8))
    options = QemuOptions(accel=AccelChoice.KVM)
    async with asyncio.timeout(PATIENCE), open_vmm(host, options, CAPABILITIES) as vmm:
        asked = spec(boot_disk, vcpus=2, disks=(Disk("root", root),), boot_timeout=PATIENCE)
        machine = await vmm.start(asked)
        assert machine.kvm
        channel = await machine.connect()
        await channel.write(b"D\n")
        found = b""
        while not found.endswith(b"\n"):
            found += await channel.read(4096)
        assert b"root=vdb:extent-1:0" in found.split()
        payload = os.urandom(200_000).translate(bytes.maketrans(b"RDFIW", b"rdfiw"))  # these are orders
        _, got = await asyncio.gather(asyncio.sleep(0), exchange(channel, b"x" + payload))
        assert got == b"x" + payload
        await channel.write(b"R")
        assert (await machine.wait()).end is MachineEnd.SHUTDOWN


async def test_auto_takes_kvm_and_remembers_that_it_works(
    host: Host, spec: SpecMaker, boot_disk: Path
) -> None:
    options = QemuOptions(kvm_boot_timeout=PATIENCE)
    async with asyncio.timeout(2 * PATIENCE), open_vmm(host, options, CAPABILITIES) as vmm:
        machine = await vmm.start(spec(boot_disk, boot_timeout=PATIENCE))
        await machine.connect()
        assert machine.kvm
        assert verdict(host) is Trust.WORKS
        assert (await machine.stop(5)).end is MachineEnd.KILLED
