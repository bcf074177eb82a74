"""What a user asks for: a sandbox of an image, and processes in it."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from monocore_core.model.guest import Rlimit, TerminalSize, TmpfsMount
from monocore_core.model.oci import Platform

MIB = 1024 * 1024


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
        readonly: the root is not writable at all.
        tmpfs: further tmpfs mounts.
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
    readonly: bool = False
    tmpfs: tuple[TmpfsMount, ...] = ()
    foreground: bool = True
    boot_timeout: float = 30.0


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
