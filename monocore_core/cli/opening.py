"""From settings to an open supply, or an engine that runs what it has."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from monocore_core.cli.settings import settings_for
from monocore_core.config.values import Settings
from monocore_core.model.events import Listener, ignore
from monocore_core.plugins import Plugins
from monocore_core.supply import Supply

if TYPE_CHECKING:
    from monocore_core.engine import Engine

__all__ = ["open_engine", "open_supply", "settings_for"]


def open_supply(
    settings: Settings, listener: Listener = ignore, plugins: Plugins | None = None
) -> AbstractAsyncContextManager[Supply]:
    """A supply, to be entered: enough for whatever runs no machine."""
    return Supply.open(settings, plugins=plugins, listener=listener)


def open_engine(settings: Settings, listener: Listener = ignore) -> AbstractAsyncContextManager[Engine]:
    """An engine, to be entered."""
    from monocore_core.engine import (
        Engine,  # most commands need none, and it takes as long to import as some take to run
    )

    return Engine.open(settings, listener=listener)
