"""Machines for real, under whatever acceleration works here."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from monocore_vmm_qemu import CAPABILITIES
from monocore_vmm_qemu.options import QemuOptions
from monocore_vmm_qemu.vmm import QemuVmm, open_vmm

from monocore_core.errors import Conflict, DeadlineExceeded, MachineError, Unsupported
from monocore_core.interfaces.provider import Host
from monocore_core.interfaces.vmm import GuestChannel
from monocore_core.model.machine import Disk, DiskLimits, MachineEnd, MachineSpec
from monocore_core.model.rootfs import DiskFormat
from monocore_core.vmmkit.kvm import kvm_problem
from monocore_core.vmmkit.process import start_time

pytestmark = pytest.mark.integration
SpecMaker = Callable[..., MachineSpec]


@pytest.fixture
async def vmm(host: Host) -> AsyncGenerator[QemuVmm]:
    async with asyncio.timeout(60), open_vmm(host, QemuOptions(), CAPABILITIES) as opened:
        yield opened


async def line(channel: GuestChannel) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        piece = await channel.read(4096)
        assert piece, f"the channel ended after {text!r}"
        text += piece
    return text


async def echo(channel: GuestChannel, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = await channel.read(65536)
        assert piece
        got += piece
    return got


async def test_boots_answers_and_reboots(
    vmm: QemuVmm, spec: SpecMaker, boot_disk: Path, tmp_path: Path
) -> None:
    flat, upper = tmp_path / "a, b.img", tmp_path / "upper.img"
    flat.write_bytes(b"extent-1" + bytes(1024 * 1024 - 8))
    upper.write_bytes(b"upper-01" + bytes(1024 * 1024 - 8))
    descriptor = tmp_path / "root.vmdk"
    descriptor.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 2048 FLAT "{flat}" 0\n'
        'ddb.virtualHWVersion = "4"\nddb.geometry.cylinders = "2"\nddb.geometry.heads = "16"\n'
        'ddb.geometry.sectors = "63"\nddb.adapterType = "ide"\n'
    )
    disks = (
        Disk("root", descriptor, DiskFormat.VMDK, readonly=True, files=(descriptor, flat)),
        Disk("upper", upper, readonly=False),
    )
    asked = spec(boot_disk, disks=disks, vcpus=2)
    machine = await vmm.start(asked)
    assert os.getpriority(os.PRIO_PROCESS, machine.pid) == QemuOptions().nice
    channel = await machine.connect()
    with pytest.raises(Conflict):
        await vmm.start(asked)
    with pytest.raises(Conflict):
        await vmm.remove(asked.key)
    await channel.write(b"D\n")
    found = dict(word.split(b"=") for word in (await line(channel)).split())
    assert found == {b"boot": b"vda::0", b"root": b"vdb:extent-1:0", b"upper": b"vdc:upper-01:1"}

    again = await machine.connect()
    assert await channel.read(1) == b"", "an earlier channel is closed"
    payload = os.urandom(300_000).translate(bytes.maketrans(b"RDFIW", b"rdfiw"))
    _, got = await asyncio.gather(again.write(b"x", payload), echo(again, len(payload) + 1))
    assert got == b"x" + payload

    await again.write(b"R")
    ends = await asyncio.gather(machine.wait(), machine.wait())
    assert {end.end for end in ends} == {MachineEnd.SHUTDOWN}
    assert await machine.stop(1) == ends[0]
    assert await again.read(1) == b""
    assert "hello from the guest" in asked.console.read_text()
    assert stat.S_IMODE(asked.console.stat().st_mode) == 0o600
    assert [path.name for path in asked.directory.iterdir()] == ["console.log"], "no socket is left"
    await vmm.remove(asked.key)
    await vmm.remove(asked.key)


async def test_the_rate_of_a_disk_is_limited(
    vmm: QemuVmm, spec: SpecMaker, boot_disk: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.img"
    data.write_bytes(bytes(8 << 20))
    limits = DiskLimits(read=2 << 20, write=4 << 20)
    machine = await vmm.start(spec(boot_disk, disks=(Disk("data", data, readonly=False, limits=limits),)))
    channel = await machine.connect()
    seconds: dict[bytes, float] = {}
    for command in (b"I\n", b"W\n"):
        began = time.monotonic()
        await channel.write(command)
        assert await line(channel) == b"%d\n" % (4 << 20)
        seconds[command] = time.monotonic() - began
    await machine.kill()
    assert 1.5 < seconds[b"I\n"] < 20, "2 s at 2 MiB/s, of which a tenth of a second may come at once"
    assert 0.7 < seconds[b"W\n"] < 20


async def test_stop_and_kill_leave_no_process(vmm: QemuVmm, spec: SpecMaker, boot_disk: Path) -> None:
    one, two = await asyncio.gather(vmm.start(spec(boot_disk)), vmm.start(spec(boot_disk)))
    assert (await one.stop(5)).end is MachineEnd.KILLED
    assert (await two.kill()).end is MachineEnd.KILLED
    assert start_time(one.pid) is None
    assert start_time(two.pid) is None
    with pytest.raises(MachineError, match="ended before"):
        await one.connect()


async def test_a_long_folder(vmm: QemuVmm, spec: SpecMaker, boot_disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 200)
    folder.mkdir()
    machine = await vmm.start(spec(boot_disk, directory=folder, console=folder / "console.log"))
    channel = await machine.connect()
    await channel.write(b"x\n")
    assert await line(channel) == b"x\n"
    await channel.aclose()
    assert (await machine.stop(5)).end is MachineEnd.KILLED


async def test_no_agent_in_time(vmm: QemuVmm, spec: SpecMaker, boot_disk: Path) -> None:
    machine = await vmm.start(spec(boot_disk, cmdline=("test.mute",), boot_timeout=0.3))
    with pytest.raises(DeadlineExceeded, match=r"no agent within 0\.3 seconds") as caught:
        await machine.connect()
    assert "console.log) ends with" in (caught.value.hint or "")
    await machine.kill()


@pytest.mark.usefixtures("boot_disk")
async def test_a_kernel_panic_is_told(vmm: QemuVmm, spec: SpecMaker, tmp_path: Path) -> None:
    empty = tmp_path / "no-file-system"
    empty.write_bytes(bytes(65536))
    machine = await vmm.start(spec(empty))
    with pytest.raises(MachineError, match=r"the guest kernel panicked: .*Unable to mount root fs") as caught:
        await machine.connect()
    assert "Unable to mount root fs" in (caught.value.hint or "")


async def test_an_endless_console_is_bounded(host: Host, spec: SpecMaker, boot_disk: Path) -> None:
    limit = 65536
    async with asyncio.timeout(60), open_vmm(host, QemuOptions(console_limit=limit), CAPABILITIES) as vmm:
        asked = spec(boot_disk)
        machine = await vmm.start(asked)
        channel = await machine.connect()
        await channel.write(b"F")
        async with asyncio.timeout(20):
            while "hello" in (text := asked.console.read_text()) or "flood" not in text:
                assert asked.console.stat().st_size <= limit
                await asyncio.sleep(0.02)  # until the beginning has been dropped; files do not wake anyone
        assert (await machine.stop(5)).end is MachineEnd.KILLED
    assert asked.console.stat().st_size <= limit


async def test_too_much_memory_says_so(vmm: QemuVmm, spec: SpecMaker, boot_disk: Path) -> None:
    asked = spec(boot_disk, memory=1 << 50)
    with pytest.raises(MachineError, match=r"(?i)memory") as caught:
        await vmm.start(asked)
    assert "\n" not in caught.value.brief
    assert [path.name for path in asked.directory.iterdir()] == ["console.log"]
    assert await vmm.adopt(asked) is None


async def test_what_is_beyond_is_refused(vmm: QemuVmm, spec: SpecMaker, boot_disk: Path) -> None:
    for changes in (
        {"architecture": "riscv64"},
        {"disks": tuple(Disk(f"d{n}", boot_disk) for n in range(5))},
        {"disks": (Disk("x" * 21, boot_disk),)},
        {"vcpus": 0},
    ):
        with pytest.raises(Unsupported):
            await vmm.start(spec(boot_disk, **changes))


async def test_outlives_us_and_is_adopted(host: Host, spec: SpecMaker, boot_disk: Path) -> None:
    asked = spec(boot_disk, foreground=False)
    async with asyncio.timeout(60):
        async with open_vmm(host, QemuOptions(), CAPABILITIES) as first:
            machine = await first.start(asked)
            await (await machine.connect()).aclose()
            pid = machine.pid
        assert start_time(pid) is not None
        async with open_vmm(host, QemuOptions(), CAPABILITIES) as second:
            assert await second.adopt(spec(boot_disk)) is None
            adopted = await second.adopt(asked)
            assert adopted is not None
            assert adopted.pid == pid
            with pytest.raises(Conflict):
                await second.start(asked)
            channel = await adopted.connect()
            await channel.write(b"still here\n")
            assert await line(channel) == b"still here\n"
            await channel.write(b"R")
            assert (await adopted.wait()).end is MachineEnd.SHUTDOWN
            assert await second.adopt(asked) is None
            await second.remove(asked.key)


_PARENT = """
import asyncio, sys
from pathlib import Path
from monocore_core.interfaces.provider import Host
from monocore_core.model.machine import MachineSpec
from monocore_vmm_qemu import CAPABILITIES
from monocore_core.vmmkit.kvm import kvm_problem
from monocore_vmm_qemu.options import QemuOptions
from monocore_vmm_qemu.vmm import open_vmm

async def main():
    boot, folder, state, cache = map(Path, sys.argv[1:])
    spec = MachineSpec("tied", "amd64", 1, 128 << 20, boot, folder, folder / "console.log")
    async with open_vmm(Host(state, cache), QemuOptions(), CAPABILITIES) as vmm:
        machine = await vmm.start(spec)
        print(machine.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_foreground_machine_dies_with_its_parent(host: Host, boot_disk: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", _PARENT, *map(str, (boot_disk, tmp_path, host.state, host.cache))]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:  # noqa: ASYNC220 - starts at once
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        pidfd = os.pidfd_open(pid)
        try:
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(pidfd, ended.set)
            parent.send_signal(signal.SIGKILL)
            async with asyncio.timeout(10):
                await ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)


_DIES_BEFORE_IT_IS_KNOWN = """
import asyncio, os, pickle, signal, sys
from monocore_core.interfaces.provider import Host
from monocore_vmm_qemu import CAPABILITIES
from monocore_vmm_qemu.options import QemuOptions
from monocore_vmm_qemu.records import Records
from monocore_vmm_qemu.vmm import open_vmm

host, spec = pickle.load(sys.stdin.buffer)

def write(self, key, record):
    os.write(1, str(record.pid).encode())
    os.kill(os.getpid(), signal.SIGKILL)

Records.write = write

async def main():
    async with open_vmm(host, QemuOptions(), CAPABILITIES) as vmm:
        await vmm.start(spec)

asyncio.run(main())
"""


@pytest.mark.parametrize("found", ["adopt", "start", "remove"])
async def test_a_background_machine_whose_starter_dies_before_it_is_written_down_is_ended(
    found: str, host: Host, spec: SpecMaker, boot_disk: Path
) -> None:
    asked = spec(boot_disk, foreground=False)
    words = [sys.executable, "-c", _DIES_BEFORE_IT_IS_KNOWN]
    starter = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said, _ = await starter.communicate(pickle.dumps((host, asked)))
    pid = int(said)
    started = start_time(pid)
    assert started is not None, "it has not outlived its starter, and there is nothing to end"
    async with asyncio.timeout(60), open_vmm(host, QemuOptions(), CAPABILITIES) as vmm:
        if found == "adopt":
            assert await vmm.adopt(asked) is None
        elif found == "start":
            machine = await vmm.start(asked)
            assert machine.pid != pid
            await machine.connect()
            await machine.kill()
        await vmm.remove(asked.key)
    assert start_time(pid) != started
    assert not list((host.state / "machines").iterdir())


@pytest.mark.skipif(kvm_problem(Path("/"), "amd64") is None, reason="KVM truly works here")
async def test_kvm_that_never_reports_is_given_up(
    host: Host, spec: SpecMaker, boot_disk: Path, tmp_path: Path
) -> None:
    """A host that promises KVM: here the boot under it fails or spins, and the machine goes on with TCG."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kvm").touch()
    (tmp_path / "sys/module/kvm_amd").mkdir(parents=True)
    options = QemuOptions(kvm_boot_timeout=1.0)
    async with asyncio.timeout(60):
        vmm = QemuVmm(host, options, CAPABILITIES, root=tmp_path)
        machine = await vmm.start(spec(boot_disk))
        await machine.connect()
        assert not machine.kvm
        await machine.kill()
        second = await vmm.start(spec(boot_disk))
        assert not second.kvm, "the verdict is remembered"
        await second.kill()
        await vmm.aclose()
