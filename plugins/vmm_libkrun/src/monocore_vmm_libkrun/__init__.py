"""microVMs by libkrun: hardware virtualisation in a library, disks and folders as roots."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.provider import Host, Problem, VmmCapabilities, VmmProvider
from monocore_core.interfaces.vmm import Vmm
from monocore_core.model.network import AttachmentKind
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_vmm_libkrun.options import KrunOptions

CAPABILITIES = VmmCapabilities(
    architectures=frozenset({{"aarch64": "arm64", "arm64": "arm64"}.get(os.uname().machine, "amd64")}),
    roots=frozenset({RootKind.DISK, RootKind.DIRECTORY}),
    disk_formats=frozenset({DiskFormat.RAW, DiskFormat.QCOW2, DiskFormat.VMDK}),
    filesystems=frozenset({"erofs", "ext4"}),
    attachments=frozenset({AttachmentKind.NONE, AttachmentKind.TAP}),
    shares=True,
    max_disks=8,
    tap_descriptors=False,
)


def _probe(host: Host, options: KrunOptions) -> Problem | None:
    from monocore_vmm_libkrun.probe import probe  # noqa: PLC0415 - listing plugins imports no more than it shows

    return probe(host, options)


def _create(host: Host, options: KrunOptions) -> AbstractAsyncContextManager[Vmm]:
    from monocore_vmm_libkrun.vmm import open_vmm  # noqa: PLC0415 - asyncio is imported by those who run machines

    return open_vmm(host, options, CAPABILITIES)


PROVIDER = VmmProvider(
    name="vmm_libkrun",
    api=1,
    summary="libkrun machines, under KVM or Hypervisor.framework",
    rank=60,
    capabilities=CAPABILITIES,
    options=KrunOptions,
    probe=_probe,
    create=_create,
)


@hookimpl
def monocore_vmms() -> list[VmmProvider[KrunOptions]]:
    """Offer libkrun."""
    return [PROVIDER]
