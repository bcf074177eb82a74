"""Which machines can be copies of one template, and what that template is. Pure, but for looking at files and taps.

A template is a machine of the same command line, but for its key, its folder and what its devices lead to: its disks are empty files,
its interface leads nowhere and has an address of its own. So the template's command line, in which all of these are fixed, and
the content of what it names, are the template's key: whatever changes there makes another template.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import re
import struct
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.network import Attachment, NoNetwork, Tap, UserMode
from monocore_vmm_qemu.command import Facts, Memory, command_line

#: Changes when templates of earlier versions are of no use.
FORMAT = 2
#: Of a template's interface; the agent knows it (``net.c``), and gives each copy its own.
MAC = "02:4d:43:ff:ff:ff"
#: Bytes of a template's disks: the most that a copy's may have, until its kernel has learned the real size.
PLACEHOLDER = 1 << 40
#: Tells the agent that it is a template, or a copy of one.
WORD = "monocore.template=1"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_CHUNK = 1024 * 1024
_TUNGETIFF = 0x800454D2
_IFREQ = struct.Struct("16sH22x")
_IFF_VNET_HDR = 0x4000


@frozen
class Identity:
    """What a template depends on beside its command line.

    Attributes:
        binary: QEMU.
        kernel: digest.
        boot: digest of the boot disk.
        processor: of the host, where the guest sees it.
    """

    binary: str
    kernel: str
    boot: str
    processor: str


def unfit(spec: MachineSpec) -> str | None:
    """Why no template serves a machine, or None. Asks an open tap whether its packets have headers."""
    if spec.architecture != "amd64":
        return f"templates of {spec.architecture} machines are not made"
    if spec.shares:
        return "folders are shared with it, whose server needs memory that no other machine has"
    attachment = spec.attachment
    if isinstance(attachment, Tap) and attachment.fd is not None and _lacks_headers(attachment.fd):
        return "packets of its tap have no header for offloads, as those of a template's have"
    return None


def _lacks_headers(tap: int) -> bool:
    """Whether a tap was opened without ``IFF_VNET_HDR``, with which QEMU does it by itself. That of a machine that has ended, which is closed, does not tell."""
    try:
        answer = fcntl.ioctl(tap, _TUNGETIFF, bytes(_IFREQ.size))
    except OSError:
        return False
    return not _IFREQ.unpack(answer)[1] & _IFF_VNET_HDR


def template_of(spec: MachineSpec, folder: Path, key: str = "template") -> MachineSpec:
    """The template for machines like ``spec``; its disks are files of ``folder``, its tap is still to be made.

    Args:
        spec: of a machine.
        folder: for everything that the template has.
        key: of the template as a machine.
    """
    disks = tuple(
        Disk(disk.name, folder / f"disk{number}", readonly=disk.readonly)
        for number, disk in enumerate(spec.disks)
    )
    words = [WORD]
    if disks and all(_NAME.fullmatch(disk.name) for disk in disks):
        words.append("monocore.disks=" + ",".join(disk.name for disk in disks))
    return evolve(
        spec,
        key=key,
        directory=folder,
        console=folder / "console.log",
        disks=disks,
        attachment=nowhere(spec.attachment),
        cmdline=(*spec.cmdline, *words),
        foreground=True,
    )


def key_of(spec: MachineSpec, facts: Facts, identity: Identity) -> str:
    """Names the template of ``spec``'s shape; facts that differ from start to start do not count."""
    place = Path("/")
    fixed = evolve(
        facts,
        binary=place,
        kernel=place,
        agent_fd=0,
        qmp_fd=0,
        console_fd=0,
        shares_fd=None,
        memory=Memory(0, copied=False),
    )
    words = command_line(evolve(template_of(spec, place), boot=place), fixed)
    depends = [
        FORMAT,
        words,
        identity.binary,
        identity.kernel,
        identity.boot,
        identity.processor,
        os.uname().release,
    ]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:32]


def identify(binary: Path, kernel: str, boot: Path, *, kvm: bool) -> Identity:
    """The identities of what is on this host.

    Raises:
        OSError: a file cannot be read.
    """
    program = binary.stat()
    disk = boot.stat()
    return Identity(
        binary=f"{binary}:{program.st_size}:{program.st_mtime_ns}:{program.st_ino}",
        kernel=kernel,
        boot=_digest(boot, disk.st_mtime_ns, disk.st_size, disk.st_ino),
        processor=_processor() if kvm else "",
    )


def nowhere(attachment: Attachment) -> Attachment:
    """The same device, leading nowhere."""
    match attachment:
        case Tap():
            return Tap(name="", mac=MAC, mtu=attachment.mtu, fd=-1)
        case UserMode():
            return UserMode(mac=MAC, restrict=True)
        case NoNetwork():
            return attachment


@functools.lru_cache(maxsize=16)
def _digest(path: Path, changed: int, size: int, inode: int) -> str:
    """SHA-256 of a file as it was then."""
    del changed, size, inode
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@functools.cache
def _processor() -> str:
    """What KVM guests see of the host's first processor."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0].splitlines()
    wanted = ("vendor_id", "cpu family", "model", "stepping", "microcode", "flags")
    kept = [line for line in lines if line.split("\t")[0].strip() in wanted]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()
