"""From settings to an open engine."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.cli.settings import settings_for
from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.events import Listener, ignore
from monocore_core.plugins import Plugins

__all__ = ["open_engine", "settings_for"]


def open_engine(
    settings: Settings, listener: Listener = ignore, plugins: Plugins | None = None
) -> AbstractAsyncContextManager[Engine]:
    """An engine, to be entered."""
    return Engine.open(settings, plugins=plugins, listener=listener)
