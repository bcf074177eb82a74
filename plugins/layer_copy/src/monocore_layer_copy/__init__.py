"""Merged roots as folders, for VMMs that share folders: one for all sandboxes of an image, or a writable copy for each.

See :mod:`monocore_core.foldertree` for how folders are written, :mod:`.merger` for what is kept, :mod:`.private` for copies.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Host, LayerMergerProvider, MergerCapabilities
from monocore_core.model.rootfs import RootKind
from monocore_layer_copy.options import CopyOptions, PrivateOptions

__all__ = ["PRIVATE", "SHARED", "CopyOptions", "PrivateOptions", "monocore_layer_mergers"]


def _create_shared(host: Host, options: CopyOptions) -> AbstractAsyncContextManager[LayerMerger]:
    from monocore_layer_copy.merger import create  # noqa: PLC0415 - listing plugins stays cheap

    return create(host, options)


def _create_private(host: Host, options: PrivateOptions) -> AbstractAsyncContextManager[LayerMerger]:
    from monocore_layer_copy.private import create  # noqa: PLC0415 - as above

    return create(host, options)


SHARED = LayerMergerProvider(
    name="layer_copy",
    api=1,
    summary="layers applied into a folder, one for all sandboxes of an image",
    rank=40,
    capabilities=MergerCapabilities(root=RootKind.DIRECTORY, shared=True),
    options=CopyOptions,
    create=_create_shared,
)
PRIVATE = LayerMergerProvider(
    name="layer_copy_private",
    api=1,
    summary="a writable folder for each sandbox, sharing data where the file system can",
    rank=20,
    capabilities=MergerCapabilities(root=RootKind.DIRECTORY, shared=False),
    options=PrivateOptions,
    create=_create_private,
)


@hookimpl
def monocore_layer_mergers() -> list[LayerMergerProvider[CopyOptions] | LayerMergerProvider[PrivateOptions]]:
    """Offer both mergers."""
    return [SHARED, PRIVATE]
