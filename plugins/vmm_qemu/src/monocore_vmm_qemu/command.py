"""The command line of QEMU, from a specification and facts. Pure.

``microvm`` (x86_64) and ``virt`` (aarch64) both offer virtio-mmio transports, which are named one by one here: the kernel
numbers disks in the order in which it meets their transports, and ``root=/dev/vda`` must be the boot disk.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import frozen

from monocore_core.model.machine import AGENT_PORT, ALL_SHARES, Disk, MachineSpec
from monocore_core.model.network import NoNetwork, Tap
from monocore_core.model.rootfs import DiskFormat
from monocore_core.vmmkit.jsontext import Json
from monocore_vmm_qemu.named import name_of

#: Transports of ``microvm`` with ``acpi=off``; ``virt`` has more.
SLOTS = 8
#: The transport of the device that serves folders; without shares a disk may have it.
SHARES_SLOT = SLOTS - 4
AGENT_ID = "agent"
BOOT_NAME = "boot"
_MIB = 1024 * 1024
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@frozen
class Memory:
    """A file that is the guest's RAM.

    Attributes:
        fd: of the file, which is as large as the RAM.
        copied: whether the machine is a copy of one that was captured: its writes stay its own, and it waits for its state.
            Otherwise the file receives them, to be captured.
    """

    fd: int
    copied: bool


@frozen
class Handed:
    """Files that QEMU has open from its start.

    Attributes:
        sets: descriptor and set, for ``-add-fd``.
        disks: what each disk is called then, the boot disk first.
        console: what the console is called.
    """

    sets: tuple[tuple[int, int], ...]
    disks: tuple[str, ...]
    console: str


@frozen
class Facts:
    """What the command line needs beside the specification.

    Attributes:
        binary: QEMU.
        kernel: a file for ``-kernel``.
        kvm: run under KVM, else under TCG.
        agent_fd: listening socket of the agent's port.
        qmp_fd: listening socket of the monitor.
        console_fd: where the console goes; the writing end of a pipe.
        shares_fd: connection to virtiofsd, or None when nothing is shared.
        translation_cache: MiB, TCG only.
        durable: see :class:`~monocore_vmm_qemu.options.QemuOptions`.
        nested: likewise.
        tsc_khz: of the host's time-stamp counter, where known.
        multithreaded: whether TCG has a thread for each processor, instead of one for all.
        memory: where the guest's RAM is, when it is a file.
        handed: descriptors of its files, when QEMU is to open no path of a disk.
    """

    binary: Path
    kernel: Path
    kvm: bool
    agent_fd: int
    qmp_fd: int
    console_fd: int
    shares_fd: int | None = None
    translation_cache: int = 64
    durable: bool = False
    nested: bool = False
    tsc_khz: int | None = None
    multithreaded: bool = True
    memory: Memory | None = None
    handed: Handed | None = None


def command_line(spec: MachineSpec, facts: Facts) -> list[str]:
    """The argument list that runs ``spec``."""
    return [
        str(facts.binary),
        "-name", name_of(spec.key),
        "-sandbox", _SANDBOX,
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        *_handed(facts),
        *_machine(spec, facts),
        "-smp", str(spec.vcpus),
        "-m", f"{_mebibytes(spec)}M",
        "-kernel", str(facts.kernel),
        "-append", " ".join(kernel_words(spec, kvm=facts.kvm, tsc_khz=facts.tsc_khz)),
        "-chardev", f"socket,id=qmp,fd={facts.qmp_fd},server=on,wait=off",
        "-mon", "chardev=qmp,mode=control",
        "-chardev", f"file,id=console,path={_console(facts)}",
        "-chardev", f"socket,id={AGENT_ID},fd={facts.agent_fd},server=on,wait=off",
        "-device", f"virtio-serial-device,max_ports=2,{_bus(spec, SLOTS - 1)}",
        "-device", "virtconsole,nr=0,chardev=console",
        "-device", f"virtserialport,nr=1,chardev={AGENT_ID},id={AGENT_ID},name={AGENT_PORT}",
        "-object", "rng-builtin,id=rng",
        "-device", f"virtio-rng-device,rng=rng,{_bus(spec, SLOTS - 2)}",
        *_disks(spec, facts),
        *_shares(spec, facts),
        *_network(spec),
        *_memory(spec, facts),
    ]  # fmt: skip


def kernel_words(spec: MachineSpec, *, kvm: bool, tsc_khz: int | None = None) -> list[str]:
    """The kernel's command line, a word an item."""
    words = ["console=hvc0", "quiet", "panic=-1", "root=/dev/vda", "rootfstype=erofs", "ro", "init=/init"]
    if spec.architecture == "amd64":
        words.append("reboot=t")  # the triple fault that -no-reboot ends on; there is no ACPI
        if not kvm:
            words += _emulated_words(spec.vcpus)
            if tsc_khz is not None:
                words.append(f"tsc_early_khz={tsc_khz}")
    return [*words, *spec.cmdline]


def _emulated_words(vcpus: int) -> list[str]:
    """What an emulated processor need not do at boot, which together takes a third off it; and what it must not.

    Every instruction that the kernel patches in itself throws translated code away: so it leaves its lock prefixes, and its
    mitigations, which harden a speculation that an emulated processor does not have (and QEMU's translated code does not keep).
    The timer check and the local APIC timer's calibration wait for real time to pass; with one processor the PIT,
    programmed for each event just as well, does instead. The time-stamp counter is the host's: it need not be watched, and
    timers are fine from the start.

    Before QEMU 8.0 the flags are garbage behind a CMPXCHG16B that compares, and an interrupt there saves them (its helper computes
    them of the operation before the last): with bits like NT or TF in them the kernel, whose allocator uses the instruction,
    died of a double fault: one of some 2,000 copies within its first second. Without the feature it goes another way, which costs nothing that can
    be measured. Programs see the feature as ever, since images for x86-64-v2 want it.
    """
    words = ["mitigations=off", "noreplace-smp", "no_timer_check", "tsc=reliable", "clearcpuid=cx16"]
    return [*words, "nolapic_timer"] if vcpus == 1 else words


def _handed(facts: Facts) -> list[str]:
    sets = facts.handed.sets if facts.handed is not None else ()
    return [word for descriptor, number in sets for word in ("-add-fd", f"fd={descriptor},set={number}")]


def _console(facts: Facts) -> str:
    """Of a pipe: one that was handed over is not to be truncated, which opening anew cannot do."""
    if facts.handed is None:
        return f"/proc/self/fd/{facts.console_fd}"
    return f"{facts.handed.console},append=on"


def _mebibytes(spec: MachineSpec) -> int:
    return -(-spec.memory // _MIB)


def _machine(spec: MachineSpec, facts: Facts) -> list[str]:
    if spec.architecture == "arm64":
        board = "virt,acpi=off,gic-version=" + ("host" if facts.kvm else "3")
    else:
        # without a real-time clock, which QEMU leaves out under KVM, the kernel waits a second for it to answer
        board = "microvm,acpi=off,rtc=on" if facts.kvm else "microvm,acpi=off"
    if facts.shares_fd is not None or facts.memory is not None:
        board += ",memory-backend=ram"
    if facts.kvm:
        return ["-machine", board, "-accel", "kvm", "-cpu", _processor("host", spec, facts)]
    threads = "multi" if facts.multithreaded else "single"
    accel = f"tcg,thread={threads},tb-size={facts.translation_cache}"
    return ["-machine", board, "-accel", accel, "-cpu", _processor("max", spec, facts) + _slower(spec)]


def _processor(model: str, spec: MachineSpec, facts: Facts) -> str:
    """The model, without the virtualisation instructions unless they are asked for: a guest's kernel that finds them offers /dev/kvm."""
    hides = spec.architecture == "amd64" and not facts.nested
    return f"{model},svm=off,vmx=off" if hides else model


def _slower(spec: MachineSpec) -> str:
    """Without what the emulated processor says of itself and is not: fast at strings of bytes (``erms``, ``fsrm``).

    It takes them byte by byte (QEMU 7.2 goes through a loop of its own for each). Who does not believe it takes eight at a time, or thirty-two: the kernel for every page
    that it clears and for all that is read and written, C libraries from some KiB on.
    """
    return ",erms=off,fsrm=off" if spec.architecture == "amd64" else ""


def _bus(spec: MachineSpec, slot: int) -> str:
    """The transport that the kernel meets as the ``slot``-th.

    ``microvm`` names its transports on the kernel's command line from the last to the first; ``virt`` lists them in its device
    tree from the first to the last.
    """
    return f"bus=virtio-mmio-bus.{slot if spec.architecture == 'arm64' else SLOTS - 1 - slot}"


def _disks(spec: MachineSpec, facts: Facts) -> list[str]:
    words: list[str] = []
    for slot, disk in enumerate((Disk(BOOT_NAME, spec.boot), *spec.disks)):
        path = facts.handed.disks[slot] if facts.handed is not None else str(disk.path)
        words += _block(disk, f"disk{slot}", path, facts)
        words += [
            "-device",
            f"virtio-blk-device,drive=disk{slot},serial={_escape(disk.name)},{_bus(spec, slot)}",
        ]
    return words


def _block(disk: Disk, name: str, path: str, facts: Facts) -> list[str]:
    objects, nodes = block_nodes(disk, name, path, facts)
    return [
        *(word for one in objects for word in ("-object", _json(one))),
        *(word for one in nodes for word in ("-blockdev", _json(one))),
    ]


def block_nodes(
    disk: Disk, name: str, path: str, facts: Facts
) -> tuple[list[dict[str, Json]], list[dict[str, Json]]]:
    """The node ``name``: a disk, or, where its rate is limited, a filter before it (QEMU's docs/throttle.txt).

    Returns:
        Objects and nodes to add, in order.
    """
    if not disk.limits:
        return [], [block_node(disk, name, path, facts)]
    limits: dict[str, Json] = {
        "bps-read": disk.limits.read,
        "bps-write": disk.limits.write,
        "iops-read": disk.limits.read_ops,
        "iops-write": disk.limits.write_ops,
    }
    inner = block_node(disk, f"{name}-disk", path, facts)
    outer: dict[str, Json] = {"driver": "throttle", "node-name": name, "throttle-group": f"{name}-limits"}
    outer |= {key: inner[key] for key in ("read-only", "discard", "cache") if key in inner}
    outer["file"] = inner["node-name"]
    group: dict[str, Json] = {"qom-type": "throttle-group", "id": f"{name}-limits", "limits": limits}
    return [group], [inner, outer]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def block_node(disk: Disk, name: str, path: str, facts: Facts) -> dict[str, Json]:
    """The block graph of a disk: format over file."""
    file: dict[str, Json] = {"driver": "file", "filename": path, "aio": "threads"}
    node: dict[str, Json] = {"driver": disk.format.value, "node-name": name, "read-only": disk.readonly}
    if disk.readonly:
        file["locking"] = "off"  # shared by many machines, and immutable
    else:
        node["discard"] = file["discard"] = "unmap"
        if not facts.durable:
            node["cache"] = {"no-flush": True}
            file["cache"] = {"no-flush": True}
    if disk.format is DiskFormat.VMDK and disk.readonly:
        file["read-only"] = True
    node["file"] = file
    return node


def _shares(spec: MachineSpec, facts: Facts) -> list[str]:
    """One device for all; virtiofsd reads and writes the guest's memory, which is a file that both have."""
    if facts.shares_fd is None:
        return []
    return [
        "-global", "virtio-mmio.force-legacy=false",  # which virtiofsd cannot speak
        "-object", f"memory-backend-memfd,id=ram,size={_mebibytes(spec)}M,share=on",
        "-chardev", f"socket,id=shares,fd={facts.shares_fd}",
        "-device", f"vhost-user-fs-device,chardev=shares,tag={ALL_SHARES},{_bus(spec, SHARES_SLOT)}",
    ]  # fmt: skip


def _memory(spec: MachineSpec, facts: Facts) -> list[str]:
    """RAM in a file. What is captured is not to say that it was paused: its copies then run as soon as they have its state."""
    if facts.memory is None:
        return []
    share = "off" if facts.memory.copied else "on"
    backend = f"memory-backend-file,id=ram,size={_mebibytes(spec)}M,mem-path=/proc/self/fd/{facts.memory.fd},share={share}"
    mode = ["-incoming", "defer"] if facts.memory.copied else ["-global", "migration.store-global-state=off"]
    return ["-object", backend, *mode]


def _network(spec: MachineSpec) -> list[str]:
    attachment = spec.attachment
    if isinstance(attachment, NoNetwork):
        return []
    if isinstance(attachment, Tap):
        source = f"fd={attachment.fd}" if attachment.fd is not None else f"ifname={_escape(attachment.name)}"
        backend = f"tap,id=net,{source}" + (",script=no,downscript=no" if attachment.fd is None else "")
        mtu = f",host_mtu={attachment.mtu}"
    else:
        forwards = (f",hostfwd={p}:{host}:{outer}-:{inner}" for p, host, outer, inner in attachment.forwards)
        restrict = ",restrict=on" if attachment.restrict else ""
        backend, mtu = f"user,id=net{restrict}" + "".join(forwards), ""
    device = f"virtio-net-device,netdev=net,mac={attachment.mac}{mtu},{_bus(spec, SLOTS - 3)}"
    return ["-netdev", backend, "-device", device]


def _escape(text: str) -> str:
    """Commas separate QEMU's properties; doubled they are text."""
    return text.replace(",", ",,")
