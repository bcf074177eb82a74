"""Write the tables of options in ``docs/configuration.md`` from the backends' own classes and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import attrs

from monocore_core.plugins import Backend, discover

TARGET = Path(__file__).parents[1] / "docs" / "configuration.md"
HEADING = "## Options of the backends"


def text() -> str:
    """The page, with the tables that belong into it."""
    before = TARGET.read_text().partition(HEADING)[0]
    return f"{before}{HEADING}\n\n" + "\n".join(_section(backend) for backend in discover().backends)


def _section(backend: Backend) -> str:
    title = f"### `[plugins.{backend.name}]`\n\n{backend.interface.label}, from `{backend.distribution}`: {backend.provider.summary}.\n"
    attrs.resolve_types(backend.provider.options)
    fields = attrs.fields(backend.provider.options)
    if not fields:
        return f"{title}\nNo options.\n"
    meanings = _meanings(inspect.getdoc(backend.provider.options) or "")
    rows = [
        f"| `{one.name}` | {_type(one.type)} | {_default(one)} | {meanings.get(one.name, '')} |"
        for one in fields
    ]
    return "\n".join([title, "| option | type | default | |", "|---|---|---|---|", *rows, ""])


def _meanings(docstring: str) -> Mapping[str, str]:
    """The entries of a docstring's ``Attributes:``, each on one line."""
    listed = docstring.partition("Attributes:\n")[2]
    entries: list[str] = re.split(r"^    (?=\w+: )", listed, flags=re.MULTILINE)
    pairs = [entry.partition(": ") for entry in entries if entry.strip()]
    return {name.strip(): " ".join(words.split()).rstrip(".").replace("``", "`") for name, _, words in pairs}


def _type(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    name = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return re.sub(r"(\w+\.)+", "", name).replace(" | None", "").replace("|", "or")


def _default(one: attrs.Attribute[object]) -> str:
    value = one.default
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str | int | float):
        return f"`{value}`"
    return "empty"


if __name__ == "__main__":
    TARGET.write_text(text())
