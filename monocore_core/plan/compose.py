"""The machine's specification and the guest's set-up, from the decisions and what the backends gave. Pure."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from monocore_core.model.guest import GuestSetup, RootDisk, RootShare, UpperDisk, UpperMemory
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
    """

    key: str
    root: RootFs
    connection: Connection
    boot: Path
    directory: Path
    upper: Path | None = None


def machine_spec(request: SandboxRequest, parts: Parts) -> MachineSpec:
    """What the VMM is asked to run."""
    disks: list[Disk] = []
    shares: list[Share] = []
    if isinstance(parts.root, DiskRoot):
        root = parts.root
        disks.append(Disk(ROOT_NAME, root.path, root.format, readonly=True, files=root.files))
    else:
        shares.append(Share(ROOT_NAME, parts.root.path, readonly=not parts.root.writable))
    if parts.upper is not None:
        disks.append(Disk(UPPER_NAME, parts.upper, readonly=False))
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
        root = RootShare(ROOT_NAME, parts.root.writable)
    return GuestSetup(
        root=root,
        upper=_upper(request, parts),
        hostname=request.hostname or parts.key[:12],
        mounts=request.tmpfs,
        network=parts.connection.guest,
        entropy=entropy,
        time_ns=time_ns,
        tied=request.foreground,
    )


def _upper(request: SandboxRequest, parts: Parts) -> UpperMemory | UpperDisk | None:
    if request.readonly or (isinstance(parts.root, DirectoryRoot) and parts.root.writable):
        return None
    return UpperDisk(UPPER_NAME) if parts.upper is not None else UpperMemory()
