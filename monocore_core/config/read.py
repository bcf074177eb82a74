"""From a tree of plain data to the classes of :mod:`.tables`, with every problem and its place. Pure.

What is wrong is told and left at its default, so that the rest is read, too: nothing that is made here may be used before
:meth:`~monocore_core.config.tree.Problems.raise_if_any` was called.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs

from monocore_core.config.tree import Node, Problems
from monocore_core.config.words import kind_of
from monocore_core.errors import InvalidInput
from monocore_core.notation.form import ALIASES, Form

T = TypeVar("T")


class _Failed:
    """What a value that cannot be read is instead."""


_FAILED = _Failed()


def read_table(node: Node, target: type[T], problems: Problems) -> T:
    """Make a ``target`` of a table.

    Args:
        node: a table; anything else is told, and gives the defaults.
        target: an attrs class whose attributes are annotated with forms, other such classes, and lists, tables and unions of them.
        problems: gets what is wrong.
    """
    if node.table is None:
        problems.add(node.place, f"expected a table, got {kind_of(_shown(node))}")
    parts = canonical(node.parts, target, problems)
    hints = _hints(target)
    values: dict[str, object] = {}
    for one in attrs.fields(cast("type[attrs.AttrsInstance]", target)):
        part = parts.get(one.name)
        value = _FAILED if part is None else read_value(part, hints[one.name], problems)
        if part is None and one.default is attrs.NOTHING and node.table is not None:
            problems.add(node.place.below(one.name, 0), "is missing")
        if not isinstance(value, _Failed):
            values[one.name] = value
        elif one.default is attrs.NOTHING:
            values[one.name] = ""  # only texts are required; what is made of it is never used
    return target(**values)


def canonical(table: Mapping[str, Node], target: type[object], problems: Problems) -> dict[str, Node]:
    """The table with every key under its own name rather than an alias; unknown keys are told and dropped."""
    names = _names(target)
    found: dict[str, Node] = {}
    written: dict[str, str] = {}
    for key, part in table.items():
        name = names.get(key)
        if name is None:
            problems.add(part.place, unknown_key(key, names))
        elif name in found:
            problems.add(part.place, f"means the same as {written[name]!r}, and both are given")
        else:
            found[name] = part
            written[name] = key
    return found


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that there is not."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, 1)
    return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key (known: {', '.join(names)})"


def read_value(node: Node, kind: object, problems: Problems) -> object:
    """One value of a type, or the mark of a failure."""
    arms = _arms(kind)
    fitting = [arm for arm in arms if _takes(arm, node)]
    if not fitting:
        nouns = " or ".join(dict.fromkeys(map(_noun, arms)))
        problems.add(node.place, f"expected {nouns}, got {kind_of(_shown(node))}")
        return _FAILED
    arm = fitting[0]
    if arm is object:
        return plain(node)
    if get_origin(arm) is Annotated:
        return _formed(node, cast("Form", get_args(arm)[1]), problems)
    if node.table is not None:
        return _mapping(node, arm, problems) if get_origin(arm) is not None else _attrs(node, arm, problems)
    if node.items is not None:
        return _tuple(node.items, get_args(arm)[0], problems)
    return node.value


def plain(node: Node) -> object:
    """The plain data again."""
    if node.table is not None:
        return {key: plain(part) for key, part in node.table.items()}
    return [plain(part) for part in node.items] if node.items is not None else node.value


def _formed(node: Node, form: Form, problems: Problems) -> object:
    try:
        return form.parse(node.value)
    except InvalidInput as error:
        problems.refused(node.place, error)
        return _FAILED


def _tuple(items: list[Node], element: object, problems: Problems) -> tuple[object, ...]:
    values = [(item, read_value(item, element, problems)) for item in items]
    items[:] = [item for item, value in values if not isinstance(value, _Failed)]
    return tuple(value for _, value in values if not isinstance(value, _Failed))


def _mapping(node: Node, kind: object, problems: Problems) -> object:
    element = get_args(kind)[1]
    values = {key: read_value(part, element, problems) for key, part in node.parts.items()}
    return {key: value for key, value in values.items() if not isinstance(value, _Failed)}


def _attrs(node: Node, kind: object, problems: Problems) -> object:
    return read_table(node, cast("type[object]", kind), problems)


def _arms(kind: object) -> tuple[object, ...]:
    """The kinds that a union has, without None."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(arm for arm in get_args(kind) if arm is not type(None))
    return (kind,)


def _takes(kind: object, node: Node) -> bool:
    """Whether a kind is written as this node is: a table, a list, or neither."""
    origin = get_origin(kind)
    if kind is object:
        return True
    if node.table is not None:
        return (origin is not None and origin not in (Annotated, tuple)) or (
            origin is None and _is_attrs(kind)
        )
    if node.items is not None:
        return origin is tuple
    if origin is Annotated:
        return True
    return isinstance(kind, type) and not _is_attrs(kind) and type(node.value) is kind


def _is_attrs(kind: object) -> bool:
    return isinstance(kind, type) and attrs.has(kind)


def _noun(kind: object) -> str:
    if get_origin(kind) is Annotated:
        return cast("Form", get_args(kind)[1]).noun
    if get_origin(kind) is tuple:
        return "a list"
    if kind is str:
        return "text"
    return "true or false" if kind is bool else "a table"


def _shown(node: Node) -> object:
    """What a message shows of it: the kind of a table or list, a plain value itself."""
    return {} if node.table is not None else [] if node.items is not None else node.value


def _hints(target: type[object]) -> Mapping[str, object]:
    if target not in _HINTS:
        _HINTS[target] = get_type_hints(target, include_extras=True)
    return _HINTS[target]


def _names(target: type[object]) -> Mapping[str, str]:
    """Every way to write a key, to the key."""
    found: dict[str, str] = {}
    for one in attrs.fields(cast("type[attrs.AttrsInstance]", target)):
        found[one.name] = one.name
        for alias in cast("tuple[str, ...]", one.metadata.get(ALIASES, ())):
            found[alias] = one.name
    return found


#: Evaluated annotations, which take longer than the reading of a file.
_HINTS: dict[type[object], Mapping[str, object]] = {}
