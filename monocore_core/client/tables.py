"""Plain data of an answer, read without believing that everything is there and of its kind. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from monocore_core.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeGuard

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
    if not is_table(found):
        raise Corrupt("the daemon's answer is not a JSON object", hint="is it a daemon of monocore?")
    return found


def is_table(value: object) -> TypeGuard[Table]:
    """Whether it is an object of JSON, or a table of TOML."""
    return isinstance(value, dict)


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
    return value if is_table(value) else NOTHING


def inner(outer: Table, key: str) -> Table:
    """A table in a table."""
    return table(outer.get(key))


def tables(outer: Table, key: str) -> list[Table]:
    """The tables in a list."""
    return [one for one in items(outer.get(key)) if is_table(one)]


def texts(outer: Table, key: str) -> list[str]:
    """The strings in a list."""
    return [one for one in items(outer.get(key)) if isinstance(one, str)]


def items(value: object) -> Sequence[object]:
    """``value`` when it is a list, else an empty one."""
    return value if _is_list(value) else ()


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
