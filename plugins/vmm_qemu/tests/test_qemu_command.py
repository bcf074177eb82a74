"""Command lines, word by word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu.command import Facts, command_line, kernel_words

from monocore_core.model.machine import Disk, DiskLimits, MachineSpec
from monocore_core.model.network import Tap, UserMode
from monocore_core.model.rootfs import DiskFormat

SPEC = MachineSpec(
    key="k1",
    architecture="amd64",
    vcpus=2,
    memory=256 * 1024 * 1024,
    boot=Path("/b/boot.erofs"),
    directory=Path("/d"),
    console=Path("/d/console.log"),
    disks=(
        Disk("root", Path("/b/a, b.vmdk"), DiskFormat.VMDK),
        Disk("upper", Path("/d/upper.img"), readonly=False),
    ),
)
FACTS = Facts(Path("/usr/bin/qemu"), Path("/c/kernel.elf"), kvm=False, agent_fd=5, qmp_fd=6, console_fd=7)

START = """/usr/bin/qemu
-name monocore-k1
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-nodefaults -no-user-config -no-reboot
-display none
"""
MIDDLE = """-smp 2
-m 256M
-kernel /c/kernel.elf
"""
DEVICES = """-chardev socket,id=qmp,fd=6,server=on,wait=off
-mon chardev=qmp,mode=control
-chardev file,id=console,path=/proc/self/fd/7
-chardev socket,id=agent,fd=5,server=on,wait=off
-device virtio-serial-device,max_ports=2,bus=virtio-mmio-bus.{serial}
-device virtconsole,nr=0,chardev=console
-device virtserialport,nr=1,chardev=agent,id=agent,name=monocore.agent
-object rng-builtin,id=rng
-device virtio-rng-device,rng=rng,bus=virtio-mmio-bus.{rng}
"""


def split(argv: list[str]) -> tuple[list[str], str]:
    """The argument list up to the disks, with the kernel's command line taken out of it."""
    at = argv.index("-append")
    append = argv[at + 1]
    words = argv[:at] + argv[at + 2 :]
    return words[: words.index("-blockdev")] if "-blockdev" in words else words, append


@pytest.mark.parametrize(
    ("architecture", "kvm", "machine", "serial", "rng"),
    [
        (
            "amd64",
            False,
            "-machine microvm,acpi=off -accel tcg,thread=multi,tb-size=64 -cpu max,svm=off,vmx=off,erms=off,fsrm=off",
            0,
            1,
        ),
        ("amd64", True, "-machine microvm,acpi=off,rtc=on -accel kvm -cpu host,svm=off,vmx=off", 0, 1),
        (
            "arm64",
            False,
            "-machine virt,acpi=off,gic-version=3 -accel tcg,thread=multi,tb-size=64 -cpu max",
            7,
            6,
        ),
        ("arm64", True, "-machine virt,acpi=off,gic-version=host -accel kvm -cpu host", 7, 6),
    ],
)
def test_whole_line(architecture: str, *, kvm: bool, machine: str, serial: int, rng: int) -> None:
    argv = command_line(evolve(SPEC, architecture=architecture), evolve(FACTS, kvm=kvm))
    words, append = split(argv)
    expected = START + machine + "\n" + MIDDLE + DEVICES.format(serial=serial, rng=rng)
    assert words == expected.split()
    common = "console=hvc0 quiet panic=-1 root=/dev/vda rootfstype=erofs ro init=/init"
    emulated = "" if kvm else " mitigations=off noreplace-smp no_timer_check tsc=reliable clearcpuid=cx16"
    assert append == (common if architecture == "arm64" else f"{common} reboot=t{emulated}")


@pytest.mark.parametrize(("kvm", "model"), [(False, "max"), (True, "host")])
def test_virtualisation_is_shown_to_those_alone_who_ask(*, kvm: bool, model: str) -> None:
    hidden = command_line(SPEC, evolve(FACTS, kvm=kvm))
    shown = command_line(SPEC, evolve(FACTS, kvm=kvm, nested=True))
    strings = "" if kvm else ",erms=off,fsrm=off"
    assert hidden[hidden.index("-cpu") + 1] == f"{model},svm=off,vmx=off{strings}"
    assert shown[shown.index("-cpu") + 1] == f"{model}{strings}"


def test_an_emulated_guest_is_told_the_speed_of_its_clock() -> None:
    told = "tsc_early_khz=2596136"
    assert told in kernel_words(SPEC, kvm=False, tsc_khz=2596136)
    assert told not in kernel_words(SPEC, kvm=True, tsc_khz=2596136)
    assert told not in kernel_words(evolve(SPEC, architecture="arm64"), kvm=False, tsc_khz=2596136)
    assert told in split(command_line(SPEC, evolve(FACTS, tsc_khz=2596136)))[1].split()


def test_disks_in_order_with_their_serials() -> None:
    argv = command_line(SPEC, FACTS)
    nodes = [json.loads(argv[at + 1]) for at, word in enumerate(argv) if word == "-blockdev"]
    assert [node["file"]["filename"] for node in nodes] == ["/b/boot.erofs", "/b/a, b.vmdk", "/d/upper.img"]
    assert [(node["driver"], node["read-only"]) for node in nodes] == [
        ("raw", True),
        ("vmdk", True),
        ("raw", False),
    ]
    assert [node["file"].get("locking") for node in nodes] == ["off", "off", None]
    assert nodes[2]["cache"] == {"no-flush": True}
    devices = [word for word in argv if word.startswith("virtio-blk-device")]
    assert devices == [
        "virtio-blk-device,drive=disk0,serial=boot,bus=virtio-mmio-bus.7",
        "virtio-blk-device,drive=disk1,serial=root,bus=virtio-mmio-bus.6",
        "virtio-blk-device,drive=disk2,serial=upper,bus=virtio-mmio-bus.5",
    ]


def test_durable_disks_are_flushed() -> None:
    argv = command_line(SPEC, evolve(FACTS, durable=True))
    assert not [word for word in argv if "no-flush" in word]


def test_memory_is_rounded_up() -> None:
    argv = command_line(evolve(SPEC, memory=1024 * 1024 + 1), FACTS)
    assert argv[argv.index("-m") + 1] == "2M"


@pytest.mark.parametrize(
    ("attachment", "netdev", "device"),
    [
        (
            Tap("mc0", "02:00:00:00:00:01", 1400),
            "tap,id=net,ifname=mc0,script=no,downscript=no",
            "virtio-net-device,netdev=net,mac=02:00:00:00:00:01,host_mtu=1400,bus=virtio-mmio-bus.2",
        ),
        (
            Tap("mc0", "02:00:00:00:00:01", fd=9),
            "tap,id=net,fd=9",
            "virtio-net-device,netdev=net,mac=02:00:00:00:00:01,host_mtu=1500,bus=virtio-mmio-bus.2",
        ),
        (
            UserMode("02:00:00:00:00:01", (("tcp", "127.0.0.1", 8080, 80),)),
            "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80",
            "virtio-net-device,netdev=net,mac=02:00:00:00:00:01,bus=virtio-mmio-bus.2",
        ),
    ],
)
def test_network(attachment: Tap | UserMode, netdev: str, device: str) -> None:
    argv = command_line(evolve(SPEC, attachment=attachment), FACTS)
    assert argv[-4:] == ["-netdev", netdev, "-device", device]


def test_the_rate_of_a_disk() -> None:
    limits = DiskLimits(read=1000, write_ops=7)
    disk = Disk("upper", Path("/d/upper.img"), readonly=False, limits=limits)
    argv = command_line(evolve(SPEC, disks=(disk,)), FACTS)
    at = next(index for index, word in enumerate(argv) if "throttle-group" in word) - 1
    assert argv[at : at + 6 : 2] == ["-object", "-blockdev", "-blockdev"]
    group, inner, outer = (json.loads(word) for word in argv[at + 1 : at + 6 : 2])
    assert group == {
        "qom-type": "throttle-group",
        "id": "disk1-limits",
        "limits": {"bps-read": 1000, "bps-write": 0, "iops-read": 0, "iops-write": 7},
    }
    assert inner["node-name"] == outer["file"] == "disk1-disk"
    assert outer == {
        "driver": "throttle",
        "node-name": "disk1",
        "throttle-group": "disk1-limits",
        "read-only": False,
        "discard": "unmap",
        "cache": {"no-flush": True},
        "file": "disk1-disk",
    }
    assert argv[at + 7].startswith("virtio-blk-device,drive=disk1,serial=upper,")


def test_every_transport_is_used_once() -> None:
    disks = tuple(Disk(f"d{number}", Path("/d")) for number in range(4))
    full = evolve(SPEC, disks=disks, attachment=Tap("mc0", "02:00:00:00:00:01"))
    for architecture in ("amd64", "arm64"):
        argv = command_line(evolve(full, architecture=architecture), FACTS)
        slots = [word.rpartition(".")[2] for word in argv if "bus=virtio-mmio-bus." in word]
        assert sorted(slots) == [str(number) for number in range(8)]


def test_further_words_come_last() -> None:
    assert kernel_words(evolve(SPEC, cmdline=("a=b", "c")), kvm=True)[-2:] == ["a=b", "c"]


def test_one_emulated_processor_does_without_its_apics_timer() -> None:
    assert "nolapic_timer" in kernel_words(evolve(SPEC, vcpus=1), kvm=False)
    assert "nolapic_timer" not in kernel_words(evolve(SPEC, vcpus=2), kvm=False)
    assert "nolapic_timer" not in kernel_words(evolve(SPEC, vcpus=1), kvm=True)
