"""What belongs to one template, and what makes another."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu import shape
from monocore_vmm_qemu.command import Facts, Memory, command_line
from monocore_vmm_qemu.shape import Identity, identify, key_of, template_of, unfit

from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import NoNetwork, Tap, UserMode
from monocore_core.model.rootfs import DiskFormat

SPEC = MachineSpec(
    key="k1",
    architecture="amd64",
    vcpus=1,
    memory=256 << 20,
    boot=Path("/boot.erofs"),
    directory=Path("/m/k1"),
    console=Path("/m/k1/console"),
    disks=(Disk("root", Path("/r1.vmdk"), DiskFormat.VMDK, files=(Path("/x"),)),),
)
FACTS = Facts(
    Path("/usr/bin/qemu"), Path("/kernel"), kvm=False, agent_fd=3, qmp_fd=4, console_fd=5, tsc_khz=2_000_000
)
IDENTITY = Identity("qemu 1", "kernel 1", "boot 1", "")


def key(spec: MachineSpec = SPEC, facts: Facts = FACTS, identity: Identity = IDENTITY) -> str:
    return key_of(spec, facts, identity)


@pytest.mark.parametrize(
    "other",
    [
        evolve(SPEC, key="k2", directory=Path("/m/k2"), console=Path("/m/k2/c"), boot=Path("/elsewhere")),
        evolve(SPEC, foreground=False, boot_timeout=1.0),
        evolve(SPEC, disks=(Disk("root", Path("/other.raw")),)),
    ],
)
def test_machines_of_one_shape_share_a_template(other: MachineSpec) -> None:
    assert key(other) == key()


def test_descriptors_and_addresses_do_not_count() -> None:
    assert (
        key(facts=evolve(FACTS, agent_fd=9, qmp_fd=8, console_fd=7, memory=Memory(6, copied=True))) == key()
    )
    taps = [
        evolve(SPEC, attachment=Tap(name, mac, fd=fd))
        for name, mac, fd in (("a", "02:00:00:00:00:01", 5), ("b", "02:00:00:00:00:02", None))
    ]
    assert key(taps[0]) == key(taps[1])


@pytest.mark.parametrize(
    "other",
    [
        evolve(SPEC, vcpus=2),
        evolve(SPEC, memory=257 << 20),
        evolve(SPEC, disks=()),
        evolve(SPEC, disks=(*SPEC.disks, Disk("upper", Path("/u"), readonly=False))),
        evolve(SPEC, disks=(evolve(SPEC.disks[0], readonly=False),)),
        evolve(SPEC, disks=(evolve(SPEC.disks[0], name="other"),)),
        evolve(SPEC, cmdline=("word",)),
        evolve(SPEC, attachment=Tap("t", "02:00:00:00:00:01")),
        evolve(SPEC, attachment=Tap("t", "02:00:00:00:00:01", mtu=1400)),
        evolve(SPEC, attachment=UserMode("02:00:00:00:00:01")),
    ],
)
def test_another_shape_has_another_template(other: MachineSpec) -> None:
    assert key(other) != key()


@pytest.mark.parametrize(
    "other",
    [
        evolve(IDENTITY, binary="qemu 2"),
        evolve(IDENTITY, kernel="kernel 2"),
        evolve(IDENTITY, boot="boot 2"),
        evolve(IDENTITY, processor="another"),
    ],
)
def test_another_input_makes_another_template(other: Identity) -> None:
    assert key(identity=other) != key()


@pytest.mark.parametrize(
    "other", [evolve(FACTS, kvm=True), evolve(FACTS, nested=True), evolve(FACTS, tsc_khz=1_900_000)]
)
def test_another_way_of_running_makes_another_template(other: Facts) -> None:
    assert key(facts=other) != key()


def test_another_format_makes_another_template(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(shape, "FORMAT", shape.FORMAT + 1)
    assert key() != before


def test_a_template_leads_nowhere(tmp_path: Path) -> None:
    spec = evolve(SPEC, attachment=UserMode("02:00:00:00:00:01", forwards=(("tcp", "127.0.0.1", 80, 80),)))
    words = " ".join(command_line(template_of(spec, tmp_path), FACTS))
    assert "hostfwd" not in words
    assert "restrict=on" in words
    assert "/r1.vmdk" not in words
    assert shape.MAC in words
    assert "monocore.disks=root" in words
    assert isinstance(template_of(SPEC, tmp_path).attachment, NoNetwork)


def test_shares_and_other_architectures_boot() -> None:
    assert unfit(SPEC) is None
    assert "folders" in (unfit(evolve(SPEC, shares=(Share("s", Path("/s")),))) or "")
    assert "arm64" in (unfit(evolve(SPEC, architecture="arm64")) or "")


def test_the_content_of_the_boot_disk_counts(tmp_path: Path) -> None:
    program, first, second = tmp_path / "qemu", tmp_path / "one", tmp_path / "two"
    program.write_bytes(b"program")
    first.write_bytes(b"agent")
    second.write_bytes(b"agent")
    same = identify(program, "kernel", first, kvm=False)
    assert identify(program, "kernel", second, kvm=False) == same
    second.write_bytes(b"another agent")
    assert identify(program, "kernel", second, kvm=False) != same
    assert identify(program, "kernel", first, kvm=True).processor
    program.write_bytes(b"another program")
    assert identify(program, "kernel", first, kvm=False) != same
