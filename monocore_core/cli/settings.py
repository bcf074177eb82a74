"""From flags to settings. Apart from :mod:`.opening`, which imports the engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import only_here
from monocore_core.config.load import load_settings
from monocore_core.config.values import Settings


def settings_for(
    options: Globals, overrides: Mapping[str, str] | None = None, *, anywhere: bool = False
) -> Settings:
    """The configuration of this host, with the flags on top.

    Args:
        options: the flags of every command.
        overrides: of further flags, by dotted path.
        anywhere: whichever daemon is meant: it is read, and no store opened.

    Raises:
        InvalidInput: a daemon elsewhere is meant. ConfigError, NotFound: it cannot be read.
    """
    if not anywhere:
        only_here(options)
    flags = dict(overrides or {})
    if options.home is not None:
        flags["home"] = str(Path(options.home).expanduser().absolute())
    file = Path(options.config) if options.config is not None else None
    return load_settings(file=file, environ=os.environ, cwd=Path.cwd(), overrides=flags)
