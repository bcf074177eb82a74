"""The machine's specification and the guest's set-up, from the decisions and what the backends gave. Pure."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from monocore_core.model.guest import (
    GuestSetup,
    RootDisk,
    RootShare,
    ShareMount,
    TmpfsMount,
    UpperDisk,
    UpperMemory,
)
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import Connection
from monocore_core.model.rootfs import DirectoryRoot, DiskRoot, RootFs
from monocore_core.model.sandbox import SandboxRequest

ROOT_NAME = "root"
UPPER_NAME = "upper"


@frozen
class Parts:
    """What the backends and the store gave for one sandbox.

    Attributes:
        key: the sandbox's id.
        root: from the merger.
        connection: from the network.
        boot: the agent's boot disk.
        directory: the sandbox's private folder.
        upper: disk file for writes, or None.
        volumes: what of the host it sees, outer targets first.
    """

    key: str
    root: RootFs
    connection: Connection
    boot: Path
    directory: Path
    upper: Path | None = None
    volumes: tuple[tuple[Share, ShareMount], ...] = ()


def machine_spec(request: SandboxRequest, parts: Parts) -> MachineSpec:
    """What the VMM is asked to run."""
    disks: list[Disk] = []
    shares: list[Share] = []
    if isinstance(parts.root, DiskRoot):
        root = parts.root
        disks.append(Disk(ROOT_NAME, root.path, root.format, readonly=True, files=root.files))
    else:
        shares.append(Share(ROOT_NAME, parts.root.path, readonly=not _writable(request, parts)))
    shares += [share for share, _ in parts.volumes]
    if parts.upper is not None:
        disks.append(Disk(UPPER_NAME, parts.upper, readonly=False, limits=request.disk_limits))
    return MachineSpec(
        key=parts.key,
        architecture=request.platform.architecture,
        vcpus=request.vcpus,
        memory=request.memory,
        boot=parts.boot,
        directory=parts.directory,
        console=parts.directory / "console.log",
        disks=tuple(disks),
        shares=tuple(shares),
        attachment=parts.connection.attachment,
        foreground=request.foreground,
        boot_timeout=request.boot_timeout,
    )


def guest_setup(request: SandboxRequest, parts: Parts, *, entropy: bytes, time_ns: int) -> GuestSetup:
    """What the agent is told; ``entropy`` and ``time_ns`` come from the caller, as this module does nothing."""
    root: RootDisk | RootShare
    if isinstance(parts.root, DiskRoot):
        root = RootDisk(ROOT_NAME, parts.root.filesystem)
    else:
        root = RootShare(ROOT_NAME, _writable(request, parts))
    return GuestSetup(
        root=root,
        upper=_upper(request, parts),
        hostname=request.hostname or parts.key[:12],
        mounts=_mounts(request, parts),
        network=parts.connection.guest,
        entropy=entropy,
        time_ns=time_ns,
        tied=request.foreground,
    )


def _writable(request: SandboxRequest, parts: Parts) -> bool:
    """Whether the guest writes into the root's folder itself."""
    return (
        isinstance(parts.root, DirectoryRoot)
        and parts.root.writable
        and not request.readonly
        and parts.upper is None
    )


def _mounts(request: SandboxRequest, parts: Parts) -> tuple[ShareMount | TmpfsMount, ...]:
    """Outer targets first, so that none hides another."""
    mounts: list[ShareMount | TmpfsMount] = [*request.tmpfs, *(mount for _, mount in parts.volumes)]
    return tuple(sorted(mounts, key=lambda mount: mount.target.split("/")))


def _upper(request: SandboxRequest, parts: Parts) -> UpperMemory | UpperDisk | None:
    if request.readonly or _writable(request, parts):
        return None
    return UpperDisk(UPPER_NAME) if parts.upper is not None else UpperMemory()
