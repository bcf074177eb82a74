"""Adding a service to a file and taking one out; every other line stays as it is, comments and order too. Pure: texts to texts.

A service is the lines from its ``[[service]]``, with the comment right above, to the last of its keys, wherever its tables stand. tomlkit writes a new
one; it is not used to change the file, as it gives the comment above a table to the table before. What comes out is parsed and
compared with what went in, so that an edit that went wrong is never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import tomli
import tomlkit

from monocore_core.config.lines import headers_of
from monocore_core.errors import ConfigError, Conflict, NotFound
from monocore_core.notation.form import Json

_LISTS = ("service", "services")
_Document = dict[str, object]


def add_service(text: str, keys: Mapping[str, Json], shown: str) -> str:
    """The text with a service more, behind the others.

    Args:
        text: of a ``monocore.toml``, which may be empty.
        keys: of the service, as they are written; with its name.
        shown: the file's name in messages.

    Raises:
        Conflict: there is a service of this name.
        ConfigError: the text is not TOML, or its services are no list of tables.
    """
    before = _parsed(text, shown)
    key, services = _services(before, shown)
    name = str(keys["name"])
    if name in _names(services):
        raise Conflict(
            f"{shown} has a service {name!r} already", hint=f"'monocore remove service {name}' takes it out"
        )
    lines = _lines(text)
    at = max((end for _, end in _spans(text, lines, key, range(len(services)))), default=len(lines))
    fresh = _written(key, keys)
    ending = "\r\n" if "\r\n" in text else "\n"
    if at and not lines[at - 1].endswith("\n"):
        lines[at - 1] += ending
    blank = [ending] if any(line.strip() for line in lines[:at]) else []
    added = [line.replace("\n", ending) for line in _lines(fresh)]
    after = "".join([*lines[:at], *blank, *added, *lines[at:]])
    return _verified(after, {**before, key: [*services, _plain(fresh, key)]}, shown)


def remove_service(text: str, name: str, shown: str) -> str:
    """The text without a service.

    Raises:
        NotFound: there is no such service.
        ConfigError: the text is not TOML, or its services are no list of tables.
    """
    before = _parsed(text, shown)
    key, services = _services(before, shown)
    names = _names(services)
    if name not in names:
        there = ", ".join(filter(None, names)) or "none"
        raise NotFound(f"{shown} has no service {name!r} (services: {there})")
    number = names.index(name)
    lines = _lines(text)
    for start, end in reversed(_spans(text, lines, key, (number,))):
        del lines[start : _after_gap(lines, start, end)]
    while lines and not lines[-1].strip():
        del lines[-1]
    left = [service for position, service in enumerate(services) if position != number]
    expected = {**before, key: left} if left else {k: v for k, v in before.items() if k != key}
    return _verified("".join(lines), expected, shown)


def _spans(text: str, lines: Sequence[str], key: str, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """The lines (from 0, end excluded) of every table of these services, in order."""
    headers = headers_of(text.replace("\r\n", "\n"))
    spans: list[tuple[int, int]] = []
    for position, (line, path) in enumerate(headers):
        if len(path) < 2 or path[0] != key or path[1] not in numbers:
            continue
        end = headers[position + 1][0] - 1 if position + 1 < len(headers) else len(lines)
        while end > line and _is_rest(lines[end - 1]):
            end -= 1
        start = line - 1
        while start > 0 and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        # the comment at the top of a file is the file's
        spans.append((line - 1 if start == 0 else start, end))
    return spans


def _after_gap(lines: Sequence[str], start: int, end: int) -> int:
    """The end of a span, with the empty lines behind it where there is one before: otherwise two gaps would become one."""
    while end < len(lines) and not lines[end].strip() and (start == 0 or not lines[start - 1].strip()):
        end += 1
    return end


def _is_rest(line: str) -> bool:
    """Whether a line is empty or a comment."""
    bare = line.strip()
    return not bare or bare.startswith("#")


def _lines(text: str) -> list[str]:
    """The lines with their endings; of what TOML calls a newline, and nothing else that Python's ``splitlines`` knows."""
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _parsed(text: str, shown: str) -> _Document:
    try:
        return cast("_Document", tomli.loads(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown} is not valid TOML: {error}") from error


def _services(document: _Document, shown: str) -> tuple[str, list[_Document]]:
    """The key under which services stand, and they."""
    key = next((name for name in _LISTS if name in document), _LISTS[0])
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in cast("list[object]", found)):
        raise ConfigError(f"{shown}: {key} is no list of tables", hint="write [[service]]")
    return key, cast("list[_Document]", found)


def _names(services: Sequence[_Document]) -> list[str]:
    return [name if isinstance(name := service.get("name"), str) else "" for service in services]


def _written(key: str, keys: Mapping[str, Json]) -> str:
    return tomlkit.dumps({key: [dict(keys)]})


def _plain(fresh: str, key: str) -> object:
    return cast("list[object]", tomli.loads(fresh)[key])[0]


def _verified(text: str, expected: _Document, shown: str) -> str:
    """The text, if it says what it should.

    Raises:
        ConfigError: the services are written in a way that cannot be edited by lines: ``service = [{…}]``, for example.
    """
    try:
        found = tomli.loads(text)
    except (ValueError, RecursionError):
        found = None
    if found != expected:
        raise ConfigError(
            f"{shown} cannot be edited: its services are written in another way than as [[service]] tables",
            hint="write them as [[service]] tables, or edit the file by hand",
        )
    return text
