"""The one cattrs converter. Use it through :mod:`monocore_core.serde`."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from pathlib import Path
from typing import TypeVar

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.errors import AttributeValidationNote, ForbiddenExtraKeysError, IterableValidationNote

from monocore_core.errors import ConfigError, MonocoreError
from monocore_core.model.digest import Digest
from monocore_core.model.health import ExecProbe, HttpProbe, TcpProbe
from monocore_core.model.oci import Platform
from monocore_core.model.policy import Rule

T = TypeVar("T")

_ADDRESSES = (IPv4Address, IPv6Address, IPv4Interface, IPv6Interface)
_UNIONS: tuple[tuple[object, Callable[[str], object]], ...] = (
    (IPv4Address | IPv6Address, ip_address),
    (IPv4Interface | IPv6Interface, ip_interface),
)


@functools.cache
def converter() -> Converter:
    """The converter; made once, on first use."""
    made = Converter(forbid_extra_keys=True, detailed_validation=True)
    made.register_structure_hook(Path, lambda value, _: Path(_expect(value, str)))
    made.register_structure_hook(Digest, lambda value, _: Digest.parse(_expect(value, str)))
    made.register_structure_hook(Platform, lambda value, _: Platform.parse(_expect(value, str)))
    made.register_structure_hook(str, lambda value, kind: _scalar(value, str, kind))
    made.register_structure_hook(bool, lambda value, _: _expect(value, bool))
    made.register_structure_hook(int, lambda value, kind: _scalar(value, int, kind))
    made.register_structure_hook(float, lambda value, _: _number(value))
    made.register_structure_hook(Enum, _member)
    for kind in _ADDRESSES:
        made.register_structure_hook(kind, _address)
        made.register_unstructure_hook(kind, str)
    for union, parse in _UNIONS:
        made.register_structure_hook(union, functools.partial(_parsed, parse))
        made.register_unstructure_hook(union, str)
    made.register_structure_hook(Rule, lambda value, _: Rule.parse(_expect(value, str)))
    made.register_unstructure_hook(Rule, str)
    made.register_structure_hook(ExecProbe | HttpProbe | TcpProbe, _probe)
    made.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    made.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(_expect(value, str)))
    made.register_unstructure_hook(datetime, datetime.isoformat)
    made.register_unstructure_hook(Path, str)
    made.register_unstructure_hook(Digest, str)
    made.register_unstructure_hook(Platform, str)
    return made


def convert(table: Mapping[str, object], target: type[T], where: str) -> T:
    """As :func:`monocore_core.serde.structure`."""
    try:
        return converter().structure(dict(table), target)
    except BaseValidationError as error:
        problems = tuple(_problems(error, ""))
        brief = f"{where}: {problems[0]}" if len(problems) == 1 else f"{where}: {len(problems)} problems"
        raise ConfigError(brief, problems=problems if len(problems) > 1 else ()) from error


def _parsed(parse: Callable[[str], object], value: object, _: object) -> object:
    return parse(_expect(value, str))


def _address(value: object, kind: Callable[[str], T]) -> T:
    return kind(_expect(value, str))


def _probe(value: object, _: object) -> object:
    """The probe whose field a table has; that of HTTP alone has a path, and is written with it."""
    table = _expect(value, dict)  # pyright: ignore[reportUnknownVariableType] - JSON
    kind = ExecProbe if "command" in table else HttpProbe if "path" in table else TcpProbe
    return converter().structure(table, kind)


def _expect(value: object, kind: type[T]) -> T:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    wanted = _WORDS.get(kind, kind.__name__)
    raise TypeError(f"expected {wanted}, got {_WORDS.get(type(value), type(value).__name__)} {value!r:.60}")


def _number(value: object) -> float:
    return float(_expect(value, int)) if isinstance(value, int) else _expect(value, float)


def _scalar(value: object, base: type[T], kind: type[object]) -> object:
    """A hook for a class also gets its subclasses, and a ``StrEnum`` is a ``str``."""
    return _member(value, kind) if issubclass(kind, Enum) else _expect(value, base)


def _member(value: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if value is member or (type(value) is type(member.value) and value == member.value):
            return member
    raise TypeError(f"expected one of {', '.join(repr(member.value) for member in kind)}, got {value!r:.60}")


_WORDS: Mapping[type[object], str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """Every leaf of cattrs' tree of exceptions, as ``path: sentence``."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _problems(inner, path + _step(inner))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.alias for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            near = difflib.get_close_matches(key, known, 1)
            advice = (
                f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(sorted(known)) or 'none'})"
            )
            yield f"{_join(path, key)}: unknown key{advice}"
    elif isinstance(error, KeyError):
        yield f"{_join(path, str(error.args[0]))}: is missing"
    else:
        text = error.brief if isinstance(error, MonocoreError) else str(error)
        yield f"{path.lstrip('.') or 'table'}: {text}"


def _step(error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"[{note.index!r}]"
    return ""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}".lstrip(".")
