"""What a user asks for: a sandbox of an image, and processes in it."""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import field, frozen

from monocore_core.errors import InvalidInput
from monocore_core.model.guest import Rlimit, TerminalSize, TmpfsMount
from monocore_core.model.machine import DiskLimits
from monocore_core.model.network import NetworkRequest
from monocore_core.model.oci import Platform
from monocore_core.model.volume import VolumeMount, check_targets

MIB = 1024 * 1024
#: Least guest RAM that boots the kernel and the agent with room for a process, bytes.
MIN_MEMORY = 64 * MIB
#: Least size of a writable disk, bytes: below it ext4 has no room for files.
MIN_DISK = 16 * MIB
MAX_VCPUS = 255

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}\Z")
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?\Z")


class PullPolicy(StrEnum):
    """When to ask the image's source."""

    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


@frozen
class SandboxRequest:
    """One sandbox.

    Attributes:
        image: reference, or an id prefix of an image in the store.
        platform: of the image; defaults to the host's.
        pull: when to ask the source.
        name: for people; at most 63 of ``[a-zA-Z0-9_.-]``; "" lets the engine choose the id.
        hostname: "" for the first twelve digits of the id.
        vcpus: virtual processors.
        memory: bytes of guest RAM.
        disk: bytes of a disk for writes, or None to keep writes in the guest's memory.
        disk_limits: what the guest may do to that disk.
        readonly: the root is not writable at all.
        tmpfs: further tmpfs mounts.
        network: what it asks of a network, or None for none; an empty ``hostname`` is filled in.
        volumes: folders of the host, named volumes, and empty folders of its own.
        foreground: dies with this process.
        boot_timeout: seconds.
    """

    image: str
    platform: Platform = field(factory=Platform.host)
    pull: PullPolicy = PullPolicy.MISSING
    name: str = ""
    hostname: str = ""
    vcpus: int = 1
    memory: int = 512 * MIB
    disk: int | None = None
    disk_limits: DiskLimits = field(factory=DiskLimits)
    readonly: bool = False
    tmpfs: tuple[TmpfsMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    network: NetworkRequest | None = None
    foreground: bool = True
    boot_timeout: float = 30.0

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise InvalidInput(f"{self.vcpus} vCPUs are not possible", hint=f"give 1 to {MAX_VCPUS}")
        if self.memory < MIN_MEMORY:
            raise InvalidInput(
                f"{_size(self.memory)} of memory are too little for a guest",
                hint=f"give at least {MIN_MEMORY // MIB}m",
            )
        if self.disk is not None and self.disk < MIN_DISK:
            raise InvalidInput(
                f"a disk of {_size(self.disk)} is too small", hint=f"give at least {MIN_DISK // MIB}m"
            )
        if self.disk_limits and self.disk is None:
            raise InvalidInput(
                "the rate of a disk is limited, but no disk is asked for", hint="give the disk a size"
            )
        if self.name and not _NAME.match(self.name):
            raise InvalidInput(
                f"sandbox name {self.name[:80]!r} is not allowed",
                hint="use at most 63 letters, digits, '_', '.' and '-', beginning with a letter or digit",
            )
        if self.hostname and not _HOSTNAME.match(self.hostname):
            raise InvalidInput(
                f"hostname {self.hostname[:80]!r} is not allowed", hint="use letters, digits, '-' and '.'"
            )
        check_targets([*(mount.target for mount in self.tmpfs), *(mount.target for mount in self.volumes)])


@frozen
class CommandRequest:
    """A process in a sandbox, in the user's words; the image's configuration fills what is left out.

    Attributes:
        args: the words after the image's name.
        entrypoint: replaces the image's when not None (and then the image's CMD is dropped, as Docker does).
        env: ``NAME=value``, later ones win, over the image's.
        cwd: "" for the image's.
        user: "" for the image's.
        terminal: a PTY of this size, or None.
        stdin: whether standard input will be sent.
        rlimits: applied before exec.
    """

    args: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    terminal: TerminalSize | None = None
    stdin: bool = False
    rlimits: tuple[Rlimit, ...] = ()


def _size(size: int) -> str:
    """In the largest unit of which it is a multiple."""
    units = ((1024 * MIB, "GiB"), (MIB, "MiB"), (1024, "KiB"))
    return next(
        (f"{size // unit} {name}" for unit, name in units if size and size % unit == 0),
        f"{size} byte{'' if size == 1 else 's'}",
    )
