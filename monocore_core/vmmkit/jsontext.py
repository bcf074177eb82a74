"""JSON as typed values: the one place where what ``json`` gives is trusted to be what it says."""

from __future__ import annotations

import json
from typing import TypeAlias, cast

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def parse(text: str | bytes) -> Json:
    """The value that a text holds.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return cast("Json", json.loads(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def at(value: Json, *path: str) -> Json:
    """What lies at a path of keys, or None."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
