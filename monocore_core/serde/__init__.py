"""Plain tables (TOML, JSON) to attrs values, strictly, with every problem at once; and back.

A table that has a key which its class does not know is an error that names the path and the nearest known key. The work is done
by the one cattrs converter in :mod:`.convert`, imported when there is something to convert: it costs 40 ms, and
most runs have no configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import attrs

T = TypeVar("T")


def structure(table: Mapping[str, object], target: type[T], where: str) -> T:
    """Make a ``target`` of a plain table.

    Args:
        table: as a TOML or JSON parser gave it; an empty one gives the defaults.
        target: an attrs class.
        where: names the table in messages, e.g. ``monocore.toml: [plugins.vmm_qemu]``.

    Raises:
        ConfigError: with one problem for each finding, each with its path.
    """
    if not table and _complete(target):
        return target()
    from monocore_core.serde.convert import convert  # noqa: PLC0415 - see above

    return convert(table, target, where)


def unstructure(value: object) -> object:
    """Plain data of a value, for JSON."""
    from monocore_core.serde.convert import converter  # noqa: PLC0415 - see above

    return converter().unstructure(value)


def _complete(target: type[object]) -> bool:
    """Whether it is an attrs class of which every field has a default."""
    return attrs.has(target) and all(field.default is not attrs.NOTHING for field in attrs.fields(target))
