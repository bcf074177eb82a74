"""MicroVMs with QEMU, under KVM or TCG, for monocore."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.provider import Host, Problem, VmmCapabilities, VmmProvider
from monocore_core.interfaces.vmm import Vmm
from monocore_core.model.network import AttachmentKind
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_vmm_qemu.options import QemuOptions

CAPABILITIES = VmmCapabilities(
    architectures=frozenset({{"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")}),
    roots=frozenset({RootKind.DISK, RootKind.DIRECTORY}),
    disk_formats=frozenset({DiskFormat.RAW, DiskFormat.QCOW2, DiskFormat.VMDK}),
    filesystems=frozenset({"erofs", "ext4"}),
    attachments=frozenset({AttachmentKind.NONE, AttachmentKind.TAP, AttachmentKind.USER}),
    shares=True,
    max_disks=4,
    disk_limits=True,
    snapshots=True,
    templates=True,
    pausable=True,
    adoptable=True,
    jails=True,
)


def _probe(host: Host, options: QemuOptions) -> Problem | None:
    from monocore_vmm_qemu.probe import probe  # noqa: PLC0415 - listing plugins imports no more than it shows

    return probe(host, options)


def _create(host: Host, options: QemuOptions) -> AbstractAsyncContextManager[Vmm]:
    from monocore_vmm_qemu.vmm import open_vmm  # noqa: PLC0415 - asyncio is imported by those who run machines

    return open_vmm(host, options, CAPABILITIES)


def _narrow(host: Host, options: QemuOptions, capabilities: VmmCapabilities) -> VmmCapabilities:
    from monocore_vmm_qemu.probe import narrow  # noqa: PLC0415

    return narrow(host, options, capabilities)


PROVIDER = VmmProvider(
    name="vmm_qemu",
    api=1,
    summary="QEMU microvm machines, under KVM or TCG",
    rank=50,
    capabilities=CAPABILITIES,
    options=QemuOptions,
    probe=_probe,
    narrow=_narrow,
    create=_create,
)


@hookimpl
def monocore_vmms() -> list[VmmProvider[QemuOptions]]:
    """Offer QEMU."""
    return [PROVIDER]
