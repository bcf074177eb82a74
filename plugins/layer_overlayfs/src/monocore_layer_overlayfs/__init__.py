"""Roots as read-only overlayfs mounts of layers that are unpacked once each and shared by all images. Experimental.

See :mod:`.difference` for what a layer's folder holds, :mod:`.mount` for the system calls, :mod:`.merger` for what is kept.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Host, LayerMergerProvider, MergerCapabilities
from monocore_core.model.rootfs import RootKind
from monocore_layer_overlayfs.options import OverlayOptions

__all__ = ["PROVIDER", "OverlayOptions", "monocore_layer_mergers"]


def _create(host: Host, options: OverlayOptions) -> AbstractAsyncContextManager[LayerMerger]:
    from monocore_layer_overlayfs.merger import create  # noqa: PLC0415 - listing plugins stays cheap

    return create(host, options)


PROVIDER = LayerMergerProvider(
    name="layer_overlayfs",
    api=1,
    summary="overlay mounts of layers unpacked once each (experimental); copies where it cannot mount",
    rank=10,
    capabilities=MergerCapabilities(root=RootKind.DIRECTORY, shared=True),
    options=OverlayOptions,
    create=_create,
)


@hookimpl
def monocore_layer_mergers() -> list[LayerMergerProvider[OverlayOptions]]:
    """Offer the merger."""
    return [PROVIDER]
