"""Plain data of an answer, read without believing that everything is there and of its kind. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from monocore_core.errors import Corrupt

Table = Mapping[str, object]
NOTHING: Table = {}


def parse_table(data: bytes) -> Table:
    """A JSON object.

    Raises:
        Corrupt: it is none.
    """
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupt("the daemon's answer is not JSON", hint="is it a daemon of monocore?") from error
    if not isinstance(found, dict):
        raise Corrupt("the daemon's answer is not a JSON object", hint="is it a daemon of monocore?")
    return cast("Table", found)


def text(table: Table, key: str, default: str = "") -> str:
    """A string."""
    value = table.get(key)
    return value if isinstance(value, str) else default


def number(table: Table, key: str, default: float = 0.0) -> float:
    """A number."""
    value = table.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def whole(table: Table, key: str, default: int = 0) -> int:
    """A whole number."""
    value = table.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def flag(table: Table, key: str) -> bool:
    """A truth value."""
    return table.get(key) is True


def table(value: object) -> Table:
    """``value`` when it is a table, else an empty one."""
    return cast("Table", value) if isinstance(value, dict) else NOTHING


def inner(outer: Table, key: str) -> Table:
    """A table in a table."""
    return table(outer.get(key))


def tables(outer: Table, key: str) -> list[Table]:
    """The tables in a list."""
    return [cast("Table", one) for one in items(outer.get(key)) if isinstance(one, dict)]


def texts(outer: Table, key: str) -> list[str]:
    """The strings in a list."""
    return [one for one in items(outer.get(key)) if isinstance(one, str)]


def items(value: object) -> Sequence[object]:
    """``value`` when it is a list, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else ()
