"""Reading files of configuration, and parsing their text: TOML with the lines of everything in it, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import tomli

from monocore_core.config.lines import Key, lines_of
from monocore_core.config.tree import Origin
from monocore_core.errors import ConfigError, InvalidInput, NotFound, Unsupported

#: Largest file that is read, bytes.
MAX_FILE = 1024 * 1024

Lines = Mapping[tuple[Key, ...], int]


def read_text(name: str, origin: Origin) -> str:
    """The text of a file, by a path relative to the folder of the origin, or absolute.

    Raises:
        NotFound: it does not exist.
        InvalidInput: it cannot be read, is too large, or is not UTF-8.
    """
    path = origin.folder / name
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise NotFound(f"file {path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"file {str(path)!r} cannot be read: {reason}") from error
    if len(data) > MAX_FILE:
        raise InvalidInput(f"file {path} is larger than {MAX_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"file {path} is not UTF-8: {error}") from error


def refuse_files(name: str, origin: Origin) -> str:
    """In place of :func:`read_text`, where no file may be read.

    Raises:
        Unsupported: always.
    """
    del origin
    raise Unsupported(f"file {name[:200]!r} is not read for a request: send what is in it")


def parse_text(text: str, name: str, shown: str) -> tuple[dict[str, object], Lines]:
    """What a file says, and where; JSON, whose name ends so, has no lines.

    Args:
        text: of the file.
        name: of the file.
        shown: its name in messages.

    Raises:
        ConfigError: it is neither TOML nor JSON.
    """
    ending = Path(name).suffix.lower()
    if ending in (".yaml", ".yml"):
        raise ConfigError(f"{shown} is YAML, which is not read", hint="write it as TOML or JSON")
    if ending == ".json":
        return _parse_json(text, shown), {}
    try:
        raw = cast("dict[str, object]", tomli.loads(text))
    except (ValueError, RecursionError) as error:  # ValueError also of a number with thousands of digits
        raise ConfigError(f"{shown} is not valid TOML: {error}") from error
    return raw, lines_of(text.replace("\r\n", "\n"))


def _parse_json(text: str, shown: str) -> dict[str, object]:
    try:
        raw: object = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown} is not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{shown} is not a JSON object")
    return cast("dict[str, object]", raw)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; of two members with one name, most parsers would drop one in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {twice[:80]!r} twice")
    return found
