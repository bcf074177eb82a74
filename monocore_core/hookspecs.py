"""The hooks that a plugin may implement, with :data:`hookimpl` to mark them. The only names shared with pluggy.

A plugin is a module named by an entry point in group ``monocore``::

    [project.entry-points.monocore]
    layer_copy = "monocore_layer_copy"
"""

from __future__ import annotations

from typing import Any

import pluggy

from monocore_core.interfaces.provider import (
    ImageSourceProvider,
    LayerMergerProvider,
    NetworkProvider,
    VmmProvider,
)

PROJECT = "monocore"
ENTRY_POINT_GROUP = "monocore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def monocore_image_sources() -> list[ImageSourceProvider[Any]]:  # type: ignore[empty-body]
    """Backends that images come from."""


@hookspec
def monocore_layer_mergers() -> list[LayerMergerProvider[Any]]:  # type: ignore[empty-body]
    """Backends that make root file systems of layers."""


@hookspec
def monocore_networks() -> list[NetworkProvider[Any]]:  # type: ignore[empty-body]
    """Backends that connect sandboxes."""


@hookspec
def monocore_vmms() -> list[VmmProvider[Any]]:  # type: ignore[empty-body]
    """Backends that run virtual machines."""
