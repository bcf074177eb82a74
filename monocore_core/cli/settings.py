"""From flags to settings. Apart from :mod:`.opening`, which imports the engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from monocore_core.cli.globals import Globals
from monocore_core.config.load import load_settings
from monocore_core.config.values import Settings


def settings_for(options: Globals, overrides: Mapping[str, str] | None = None) -> Settings:
    """The configuration, with the flags on top."""
    flags = dict(overrides or {})
    if options.home is not None:
        flags["home"] = str(Path(options.home).expanduser().absolute())
    file = Path(options.config) if options.config is not None else None
    return load_settings(file=file, environ=os.environ, cwd=Path.cwd(), overrides=flags)
