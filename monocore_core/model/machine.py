"""What a VMM is asked to run, and how it ended."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from attrs import field, frozen, validators

from monocore_core.model.network import Attachment, NoNetwork
from monocore_core.model.rootfs import DiskFormat

#: Name of the byte channel (virtio-serial port) on which the agent talks to the host.
AGENT_PORT = "monocore.agent"
#: Tag of a virtiofs device that serves every share of a machine.
ALL_SHARES = "monocore.shares"


@frozen
class DiskLimits:
    """What a guest may do to a disk; 0 is no limit.

    Attributes:
        read: bytes per second.
        write: bytes per second.
        read_ops: requests per second.
        write_ops: requests per second.
    """

    read: int = field(default=0, validator=validators.ge(0))
    write: int = field(default=0, validator=validators.ge(0))
    read_ops: int = field(default=0, validator=validators.ge(0))
    write_ops: int = field(default=0, validator=validators.ge(0))

    def __bool__(self) -> bool:
        return bool(self.read or self.write or self.read_ops or self.write_ops)


@frozen
class Disk:
    """A block device of the guest.

    Attributes:
        name: by which the agent finds it (at most 20 bytes): its virtio serial, or its place in the kernel's command line word
            ``monocore.disks=NAME,NAME…``, which a VMM without serials writes: the disks after the boot disk, in order.
        path: file on the host.
        format: layout of ``path``.
        readonly: enforced on the host's side.
        files: further host files behind ``path`` (extents, backing files).
        limits: enforced by the VMM; one that cannot refuses the disk.
    """

    name: str
    path: Path
    format: DiskFormat = DiskFormat.RAW
    readonly: bool = True
    files: tuple[Path, ...] = ()
    limits: DiskLimits = field(factory=DiskLimits)


@frozen
class Share:
    """A host folder, or file, served to the guest over virtiofs.

    A file is served as a folder that holds it alone, under the name ``file``. A VMM that has few devices to give serves every
    share through one of the tag :data:`ALL_SHARES`, in which each is the folder of its tag's name; the agent looks for both.

    Attributes:
        tag: the name by which the guest mounts it (at most 36 bytes of ``[a-z0-9._-]``).
        path: folder or regular file on the host, absolute and without symbolic links: a VMM refuses to follow any.
        readonly: enforced on the host's side.
        hidden: folders below ``path`` that the guest must not see; a VMM that cannot hide them refuses the share.
    """

    tag: str
    path: Path
    readonly: bool = True
    hidden: tuple[Path, ...] = ()


@frozen
class MachineSpec:
    """One virtual machine, complete: a VMM needs nothing else.

    Attributes:
        key: the sandbox's id; names every file and process of the machine.
        architecture: the guest's, in Go's words (``amd64``, ``arm64``).
        vcpus: at least 1.
        memory: bytes of guest RAM.
        boot: read-only raw EROFS disk whose ``/init`` is the guest agent; the kernel mounts it as its root.
        disks: further disks, found in the guest by name.
        shares: folders.
        attachment: the network device.
        directory: private folder (0700) of this machine on the host, for sockets and logs; made by the caller,
            removed by the caller after :meth:`Vmm.remove`.
        console: file that receives the kernel's console, made with mode 0600, bounded by the VMM.
        cmdline: further kernel command line words.
        foreground: whether the machine must die with the process that started it.
        boot_timeout: seconds until the agent must have opened its port.
        role: opaque: names all that its guest is to be set up as, but for what makes it an individual; "": nothing is known of that. A
            spare whose guest was set up as something serves machines of the same role alone.
    """

    key: str
    architecture: str
    vcpus: int
    memory: int
    boot: Path
    directory: Path
    console: Path
    disks: tuple[Disk, ...] = ()
    shares: tuple[Share, ...] = ()
    attachment: Attachment = field(factory=NoNetwork)
    cmdline: tuple[str, ...] = ()
    foreground: bool = True
    boot_timeout: float = 30.0
    role: str = ""


@frozen
class Spare:
    """A machine that waits, belonging to nobody, for one of its shape to be started.

    Attributes:
        id: by which it can be ended.
        shape: opaque; machines of one shape are served by each other's spares.
        pid: process of its VMM.
        role: of the machines that it serves, whose guests are set up as its is; "": it is set up as nothing, and serves every one of its shape.
    """

    id: str
    shape: str
    pid: int
    role: str = ""


class MachineEnd(StrEnum):
    """Why a machine is no longer running."""

    SHUTDOWN = "shutdown"
    """The guest powered off or rebooted by itself."""
    KILLED = "killed"
    """We ended it."""
    FAILED = "failed"
    """The VMM ended with an error or by a signal that was not ours."""


@frozen
class MachineExit:
    """How a machine ended; ``detail`` is a sentence for a person, with the VMM's last words when it failed."""

    end: MachineEnd
    detail: str = ""
