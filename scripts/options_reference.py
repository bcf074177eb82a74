"""Write the tables of keys and options in ``docs/configuration.md`` from the classes that read them, and their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, cast, get_args, get_origin, get_type_hints

import attrs

from monocore_core.config import service_tables, tables
from monocore_core.notation.form import ALIASES, Form
from monocore_core.plugins import Backend, discover
from monocore_core.schema import meanings

TARGET = Path(__file__).parents[1] / "docs" / "configuration.md"
KEYS = "## Keys of services"
HEADING = "## Options of the backends"
_LIST = "list of: "
#: Tables of the file, in the order of the page.
TABLES: Mapping[str, type[object]] = {
    "`[[service]]`": service_tables.ServiceTable,
    "`[service.healthcheck]`": service_tables.HealthTable,
    "`[service.network]`": service_tables.NetworkTable,
    "`[service.restart]`": service_tables.RestartTable,
    "`[[service.secrets]]`": service_tables.SecretTable,
    "`[service.disk_limits]`": service_tables.DiskLimitsTable,
    "`depends_on`, as a table": service_tables.DependencyTable,
    "`volumes`, as a table": service_tables.VolumeTable,
    "`group_volumes`": service_tables.GroupMountTable,
    "`extends`, as a table": service_tables.ExtendsTable,
    "`[[group]]`": tables.GroupTable,
    "`[[group.volume]]`": tables.GroupVolumeTable,
    "`[[group.env]]`": tables.GroupEnvTable,
    "`[daemon]`": tables.DaemonTable,
    "`[pool]`": tables.PoolTable,
}


def text() -> str:
    """The page, with the tables that belong into it."""
    before = TARGET.read_text().partition(KEYS)[0]
    keys = "\n".join(_table(title, kind) for title, kind in TABLES.items())
    options = "\n".join(_section(backend) for backend in discover().backends)
    return f"{before}{KEYS}\n\n{keys}\n{HEADING}\n\n{options}"


def _table(title: str, kind: type[object]) -> str:
    """The keys of one table of the file."""
    hints = get_type_hints(kind, include_extras=True)
    told = meanings(kind)
    summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
    rows = [
        f"| {_names(one)} | {_written(hints[one.name])} | {_key_default(one)} | {told.get(one.name, '')} |"
        for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind))
    ]
    return "\n".join(
        [f"### {title}\n\n{summary}\n", "| key | written as | default | |", "|---|---|---|---|", *rows, ""]
    )


def _names(one: attrs.Attribute[object]) -> str:
    aliases: tuple[str, ...] = one.metadata.get(ALIASES, ())
    return f"`{one.name}`" + "".join(f", `{alias}`" for alias in aliases)


def _written(kind: object) -> str:
    """How a value of a type is written."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return cast("Form", arguments[1]).written.replace("|", "\\|")
    if origin is tuple:
        return f"{_LIST}{_written(arguments[0])}"
    if origin in (Union, UnionType):
        arms = list(dict.fromkeys(_written(argument) for argument in arguments if argument is not type(None)))
        many = {f"{_LIST}{arm}": f"{arm}; or a list of such" for arm in arms}
        joined = next((text for arm, text in many.items() if arm in arms), None)
        return "; or ".join(arms) if joined is None else joined
    if origin is not None:
        return f"table of: {_written(arguments[1])}"
    title = next((title for title, one in TABLES.items() if id(one) == id(kind)), "")
    return f"[table](#{_anchor(title)})" if title else "text"


def _anchor(title: str) -> str:
    """The anchor that Markdown gives a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _key_default(one: attrs.Attribute[object]) -> str:
    if one.default is attrs.NOTHING:
        return "required"
    if isinstance(one.default, bool):
        return f"`{str(one.default).lower()}`"
    if isinstance(one.default, str | int | float) and one.default != "":
        return f"`{one.default:g}`" if isinstance(one.default, float) else f"`{one.default}`"
    return "`200-399`" if one.default == (200, 399) else ""


def _section(backend: Backend) -> str:
    title = f"### `[plugins.{backend.name}]`\n\n{backend.interface.label}, from `{backend.distribution}`: {backend.provider.summary}.\n"
    attrs.resolve_types(backend.provider.options)
    fields = attrs.fields(backend.provider.options)
    if not fields:
        return f"{title}\nNo options.\n"
    told = meanings(backend.provider.options)
    rows = [
        f"| `{one.name}` | {_type(one.type)} | {_default(one)} | {told.get(one.name, '')} |" for one in fields
    ]
    return "\n".join([title, "| option | type | default | |", "|---|---|---|---|", *rows, ""])


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
