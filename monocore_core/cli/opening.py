"""From flags to settings, and to an open engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from monocore_core.cli.globals import Globals
from monocore_core.config.load import load_settings
from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.events import Listener, ignore
from monocore_core.plugins import Plugins


def settings_for(options: Globals, overrides: Mapping[str, str] | None = None) -> Settings:
    """The configuration, with the flags on top."""
    flags = dict(overrides or {})
    if options.home is not None:
        flags["home"] = str(Path(options.home).expanduser().absolute())
    file = Path(options.config) if options.config is not None else None
    return load_settings(file=file, environ=os.environ, cwd=Path.cwd(), overrides=flags)


def open_engine(
    settings: Settings, listener: Listener = ignore, plugins: Plugins | None = None
) -> AbstractAsyncContextManager[Engine]:
    """An engine, to be entered."""
    return Engine.open(settings, plugins=plugins, listener=listener)
