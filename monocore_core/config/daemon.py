"""``[daemon]`` of ``monocore.toml``. Apart, so that only a file that has one pays for the reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from monocore_core.config.interpolate import interpolate
from monocore_core.config.read import read_table
from monocore_core.config.tables import DaemonTable
from monocore_core.config.tree import Node, Origin, Place, Problems, tree_of
from monocore_core.model.daemon import DaemonSettings


def daemon_settings(table: Mapping[str, object], where: str, environ: Mapping[str, str]) -> DaemonSettings:
    """The daemon's settings.

    Args:
        table: as a parser gave it.
        where: names the file in messages.
        environ: variables that it may use.

    Raises:
        ConfigError: with everything that is wrong.
    """
    problems = Problems()
    origin = Origin(where, Path("/"))
    root = tree_of({"daemon": table}, origin, problems)
    node = root.parts.get("daemon", Node({}, Place(origin)))
    read = read_table(interpolate(node, environ, problems), DaemonTable, problems)
    problems.raise_if_any(where)
    given = attrs.asdict(read, recurse=False, filter=lambda _, value: value is not None)
    return DaemonSettings(**given)
