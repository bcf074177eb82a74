"""Reading JSON from strangers: bounded, and with messages that name the place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, cast

from monocore_core.errors import Corrupt, LimitExceeded

#: Bytes of a document, the distribution specification's own advice.
MAX_DOCUMENT = 4 * 1024 * 1024
#: Characters of one string that we interpret.
MAX_STRING = 128 * 1024
#: Items of one list or object that we interpret.
MAX_ITEMS = 10_000

Table = Mapping[str, object]


def read_object(data: bytes, what: str) -> Table:
    """The JSON object in ``data``.

    Args:
        data: the document.
        what: names it in messages, e.g. ``manifest``.

    Raises:
        LimitExceeded: too large or too deep.
        Corrupt: not a JSON object in UTF-8, or one that is ambiguous (a key twice, NaN).
    """
    if len(data) > MAX_DOCUMENT:
        raise LimitExceeded(f"{what} of {len(data)} bytes is larger than {MAX_DOCUMENT}")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise LimitExceeded(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise Corrupt(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Corrupt(f"{what} is not a JSON object")
    return cast("Table", value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key[:80]!r} stands twice")
            seen.add(key)
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def table_at(value: object, where: str) -> Table:
    """``value`` as an object."""
    if not isinstance(value, dict):
        raise Corrupt(f"{where} is not an object")
    return cast("Table", value)


def list_at(table: Table, key: str, where: str, *, limit: int = MAX_ITEMS) -> list[object]:
    """The list at ``key``; an absent or null one is empty."""
    value = table.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Corrupt(f"{where}.{key} is not a list")
    items = cast("list[object]", value)
    if len(items) > limit:
        raise LimitExceeded(f"{where}.{key} has {len(items)} items; {limit} are allowed")
    return items


def text_at(table: Table, key: str, where: str) -> str:
    """The string at ``key``; an absent or null one is empty."""
    value = table.get(key)
    return "" if value is None else text(value, f"{where}.{key}")


def text(value: object, where: str) -> str:
    """``value`` as a bounded string that can be encoded."""
    if not isinstance(value, str):
        raise Corrupt(f"{where} is not a string")
    if len(value) > MAX_STRING:
        raise LimitExceeded(f"{where} is a string of {len(value)} characters; {MAX_STRING} are allowed")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Corrupt(f"{where} holds half a surrogate pair")
    return value


def texts_at(table: Table, key: str, where: str) -> tuple[str, ...]:
    """The list of strings at ``key``."""
    return tuple(text(item, f"{where}.{key}[{i}]") for i, item in enumerate(list_at(table, key, where)))


def mapping_at(table: Table, key: str, where: str) -> Mapping[str, str]:
    """The object of strings at ``key``; an absent or null one is empty."""
    value = table.get(key)
    if value is None:
        return {}
    found = table_at(value, f"{where}.{key}")
    if len(found) > MAX_ITEMS:
        raise LimitExceeded(f"{where}.{key} has {len(found)} items; {MAX_ITEMS} are allowed")
    return {
        text(name, f"{where}.{key}"): text(item, f"{where}.{key}.{name[:40]}") for name, item in found.items()
    }


def extra_of(table: Table, known: frozenset[str]) -> Mapping[str, object]:
    """The keys that a version of our model does not know, verbatim."""
    return {key: value for key, value in table.items() if key not in known}
