"""The jail of a QEMU as a value, the descriptors that it gets, and what really confines one that runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu import CAPABILITIES
from monocore_vmm_qemu.confine import CALLS, DATA, jail_of, kvm_groups
from monocore_vmm_qemu.confine_shares import CALLS as SHARES_CALLS
from monocore_vmm_qemu.confine_shares import jail_of_shares
from monocore_vmm_qemu.descriptors import Sets
from monocore_vmm_qemu.options import QemuOptions
from monocore_vmm_qemu.vmm import open_vmm

from monocore_core.errors import MachineError, Unsupported
from monocore_core.interfaces.provider import Host
from monocore_core.jail import Identity, Namespaces, libraries
from monocore_core.jail.seccomp import Calls, compile_filter
from monocore_core.model.events import Event, Warned
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import UserMode
from monocore_core.model.rootfs import DiskFormat
from monocore_core.model.security import ALWAYS, JailMode, Layer, Security

SpecMaker = Callable[..., MachineSpec]
BINARY, KERNEL = Path("/usr/bin/qemu-system-x86_64"), Path("/home/u/.monocore/kernel")


def test_the_network_of_a_machine_without_one_is_its_own(spec: SpecMaker) -> None:
    jail = jail_of(spec(Path("/boot")), BINARY, KERNEL, None, kvm=False)
    assert jail.namespaces >= Namespaces.NETWORK | Namespaces.USER
    assert not jail.connects
    assert not {"connect", "bind", "socket", "execveat", "ptrace", "mount", "fork", "kill"} & CALLS.allowed
    assert {BINARY, KERNEL} <= set(jail.shown)
    assert Path("/dev/kvm") not in jail.devices
    assert not any(path == Path("/") or path.is_relative_to("/home/u/.ssh") for path in jail.shown)


def test_user_mode_networks_have_internet_sockets_and_low_ports_only_where_published(spec: SpecMaker) -> None:
    identity = Identity(7, 7, lock=9)
    for port, capabilities in ((8080, frozenset[int]()), (80, frozenset({10}))):
        attached = UserMode("02:00:00:00:00:01", (("tcp", "127.0.0.1", port, 80),))
        jail = jail_of(spec(Path("/boot"), attachment=attached), BINARY, KERNEL, identity, kvm=True)
        assert Namespaces.NETWORK not in jail.namespaces
        assert Namespaces.USER not in jail.namespaces
        assert jail.connects
        assert jail.capabilities == capabilities
        assert Path("/dev/kvm") in jail.devices
        assert jail.calls is not None
        assert {"connect", "bind"} <= jail.calls.allowed
        assert [one.values for one in jail.calls.conditions if one.call == "socket"] == [(2, 10)]


def test_who_serves_folders_is_shown_them_alone(tmp_path: Path) -> None:
    (tmp_path / "data/secret").mkdir(parents=True)
    (tmp_path / "conf").touch()
    shares = (
        Share("data", tmp_path / "data", readonly=False, hidden=(tmp_path / "data/secret",)),
        Share("conf", tmp_path / "conf", readonly=True),
    )
    for rooted in (True, False):
        jail = jail_of_shares(shares, Path("/usr/lib/qemu/virtiofsd"), tmp_path, rooted=rooted)
        assert [(share.target, share.readonly, share.hidden) for share in jail.shared] == [
            (Path("/shares/data"), False, (Path("/shares/data/secret"),)),
            (Path("/shares/conf/file"), True, ()),
        ]
        assert jail.namespaces >= Namespaces.NETWORK | Namespaces.MOUNT | Namespaces.PROCESSES
        assert (Namespaces.USER in jail.namespaces, jail.root_inside) == (not rooted, not rooted)
        assert not jail.capabilities & {2, 5, 12, 19, 21, 27}, (
            "dac_read_search kill net_admin ptrace admin mknod"
        )
        assert jail.calls is not None
        assert ("setgroups" in jail.calls.allowed) is rooted
        assert jail.identity is None


@pytest.mark.parametrize("calls", [CALLS, SHARES_CALLS], ids=["qemu", "virtiofsd"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_list_of_calls_compiles(machine: str, calls: Calls) -> None:
    program = compile_filter(calls, machine)
    assert program is not None
    assert len(program) // 8 <= 4096, "BPF_MAXINSNS of linux/bpf_common.h"


def test_a_program_that_is_not_of_the_system_brings_its_own(tmp_path: Path) -> None:
    for folder in ("usr/lib64", "opt/lib", "opt/share/qemu", "opt/secrets", "usr/share/qemu"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib64").symlink_to("usr/lib64")
    (tmp_path / "usr/lib").mkdir()
    shown, links = libraries(tmp_path / "opt/bin/qemu", tmp_path, DATA)
    names = {str(path.relative_to(tmp_path)) for path in shown}
    assert names == {"usr/lib64", "usr/lib", "opt/lib", "opt/share/qemu", "usr/share/qemu"}
    assert links == {tmp_path / "lib64": "usr/lib64"}


def test_extents_of_a_vmdk_become_descriptors(tmp_path: Path) -> None:
    extent = tmp_path / "a layer.tar"
    extent.write_bytes(b"extent")
    disk = tmp_path / "root.vmdk"
    disk.write_text(
        f'# Disk DescriptorFile\nversion=1\nRW 1 FLAT "{extent}" 0\nRW 1 FLAT "a layer.tar" 0\nRW 4 ZERO\n'
    )
    with ExitStack() as stack:
        sets = Sets(stack)
        name = sets.disk(Disk("root", disk, DiskFormat.VMDK))
        by_set = {number: descriptor for descriptor, number in sets.pairs}
        text = os.pread(by_set[int(name.removeprefix("/dev/fdset/"))], 4096, 0).decode()
        found = re.findall(r'FLAT "/dev/fdset/([0-9]+)" 0', text)
        assert len(found) == 2
        assert str(tmp_path) not in text
        assert all(os.pread(by_set[int(number)], 10, 0) == b"extent" for number in found)
        for descriptor in by_set.values():
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.write(descriptor, b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sets.pairs[0][0])


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(MachineError, match=r"no\.img: No such file"):
        Sets(stack).disk(Disk("root", tmp_path / "no.img"))


@pytest.mark.integration
async def test_a_machine_says_what_confines_it_and_is_confined(
    host: Host, spec: SpecMaker, boot_disk: Path
) -> None:
    asked = spec(boot_disk)
    async with open_vmm(host, QemuOptions(templates=False), CAPABILITIES) as vmm:
        machine = await vmm.start(asked)
        assert machine.layers >= ALWAYS | {Layer.NETWORK}
        process = Path("/proc", str(machine.pid))
        lines = (process / "status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert status["Seccomp_filters"] == "2", "ours, and QEMU's own"
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")} == {0}
        if os.geteuid() == 0:
            assert int(status["Uid"].split()[0]) > 60000
            assert not status["Groups"].split()
        for name in ("mnt", "pid", "net", "ipc", "uts"):
            assert os.readlink(process / "ns" / name) != os.readlink(f"/proc/self/ns/{name}")  # noqa: PTH115
        assert (process / "environ").read_bytes() == b""
        assert status["NSpid"].split()[-1] == "1"
        await machine.connect()
        await machine.kill()
        await vmm.remove(asked.key)


@pytest.mark.integration
async def test_a_jail_that_cannot_be_whole_is_told_or_refused(
    host: Host, spec: SpecMaker, boot_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a container forbids namespaces: here the stage of the root is missing."""

    def broken(*words: object, **more: object) -> object:
        return evolve(jail_of(*words, **more), stage=Path("/nonexistent"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("monocore_vmm_qemu.starting.jail_of", broken)
    told: list[Event] = []
    for security in (
        Security(jail=JailMode.AUTO),
        Security(jail=JailMode.AUTO, require=(Layer.FILES,)),
        Security(jail=JailMode.REQUIRE),
    ):
        asked = spec(boot_disk)
        lacking = evolve(host, security=security, emit=told.append)
        async with open_vmm(lacking, QemuOptions(templates=False), CAPABILITIES) as vmm:
            if security.missing(frozenset({Layer.SECCOMP})):
                with pytest.raises(Unsupported, match=r"requires of the jail: .*files.*nonexistent"):
                    await vmm.start(asked)
                assert not list((host.state / "machines").glob("*.json"))
                continue
            machine = await vmm.start(asked)
            await machine.connect()
            assert machine.layers >= {Layer.SECCOMP, Layer.CAPABILITIES}
            assert Layer.FILES not in machine.layers
            await machine.kill()
            await vmm.remove(asked.key)
    warnings = [event for event in told if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "less of a jail" in warnings[0].text


@pytest.mark.parametrize(
    ("mode", "group", "groups"),
    [(0o666, 0, ()), (0o660, 4242, (4242,)), (0o660, 0, None), (0o600, 4242, None), (0o640, 4242, None)],
)
@pytest.mark.root
def test_who_may_use_kvm(tmp_path: Path, mode: int, group: int, groups: tuple[int, ...] | None) -> None:
    device = tmp_path / "kvm"
    device.touch()
    os.chown(device, 0, group)
    device.chmod(mode)
    assert kvm_groups(device) == groups
    assert kvm_groups(tmp_path / "none") == ()
