"""``[daemon]`` and ``[pool]`` of ``monocore.toml``. Apart, so that only a file that has one pays for the reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from monocore_core.config.interpolate import interpolate
from monocore_core.config.read import read_table
from monocore_core.config.tables import DaemonTable, PoolTable
from monocore_core.config.tree import Node, Origin, Place, Problems, tree_of
from monocore_core.model.daemon import DaemonSettings
from monocore_core.model.pool import PoolSettings

T = TypeVar("T", bound=attrs.AttrsInstance)


def daemon_settings(table: Mapping[str, object], where: str, environ: Mapping[str, str]) -> DaemonSettings:
    """The daemon's settings.

    Args:
        table: as a parser gave it.
        where: names the file in messages.
        environ: variables that it may use.

    Raises:
        ConfigError: with everything that is wrong.
    """
    return DaemonSettings(**_given(table, "daemon", DaemonTable, where, environ))


def pool_settings(table: Mapping[str, object], where: str, environ: Mapping[str, str]) -> PoolSettings:
    """The pool's settings; as :func:`daemon_settings`."""
    return PoolSettings(**_given(table, "pool", PoolTable, where, environ))


def _given(
    table: Mapping[str, object], name: str, kind: type[T], where: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    problems = Problems()
    origin = Origin(where, Path("/"))
    root = tree_of({name: table}, origin, problems)
    node = root.parts.get(name, Node({}, Place(origin)))
    read = read_table(interpolate(node, environ, problems), kind, problems)
    problems.raise_if_any(where)
    return attrs.asdict(read, recurse=False, filter=lambda _, value: value is not None)
