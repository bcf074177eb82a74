"""Merged roots as metadata-only EROFS over layer tars: nothing is copied, nothing needs root.

See :mod:`monocore_core.layertree` for how layers are applied, :mod:`monocore_core.erofs` for the format, :mod:`.build` for the disk.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Host, LayerMergerProvider, MergerCapabilities
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_layer_erofs.options import ErofsOptions

__all__ = ["PROVIDER", "ErofsOptions", "monocore_layer_mergers"]


def _create(host: Host, options: ErofsOptions) -> AbstractAsyncContextManager[LayerMerger]:
    from monocore_layer_erofs.merger import create  # noqa: PLC0415 - listing plugins stays cheap

    return create(host, options)


PROVIDER = LayerMergerProvider(
    name="layer_erofs",
    api=1,
    summary="metadata-only EROFS over the layer tars",
    rank=50,
    capabilities=MergerCapabilities(
        root=RootKind.DISK, disk_format=DiskFormat.VMDK, filesystem="erofs", shared=True
    ),
    options=ErofsOptions,
    create=_create,
)


@hookimpl
def monocore_layer_mergers() -> list[LayerMergerProvider[ErofsOptions]]:
    """Offer the merger."""
    return [PROVIDER]
