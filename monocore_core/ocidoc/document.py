"""Untrusted JSON to a checked object, and its members by type; every refusal says where in the document."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import NoReturn, cast

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded
from monocore_core.model.digest import Digest
from monocore_core.ocidoc.limits import MAX_DEPTH, MAX_DOCUMENT, MAX_ITEMS, MAX_LABEL, MAX_TEXT, MAX_WORD

Object = Mapping[str, object]


def load(data: bytes, what: str) -> Object:
    """The object that a document is.

    Args:
        data: UTF-8 JSON.
        what: names the document in messages (``manifest``).

    Raises:
        Corrupt: no JSON object; or a number, text or key that JSON readers disagree about (NaN, a lone surrogate, a
            key twice).
        LimitExceeded: too large or too deep.
    """
    if len(data) > MAX_DOCUMENT:
        raise LimitExceeded(f"the {what} has {len(data)} bytes, more than {MAX_DOCUMENT}")
    try:
        value: object = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise LimitExceeded(f"the {what} is nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise Corrupt(f"the {what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Corrupt(f"the {what} is not a JSON object")
    document = cast("Object", value)
    _check(document, what)
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _check(document: object, what: str) -> None:
    """Refuse what is too deep, or has text that cannot be written as UTF-8; without recursion."""
    waiting: list[tuple[object, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _check_text(value, what)
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise LimitExceeded(f"the {what} is nested more than {MAX_DEPTH} deep")
            children = cast("dict[str, object] | list[object]", value)
            if isinstance(children, dict):
                waiting.extend((key, depth) for key in children)
                waiting.extend((child, depth + 1) for child in children.values())
            else:
                waiting.extend((child, depth + 1) for child in children)


def _check_text(text: str, what: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Corrupt(f"the {what} has half a surrogate pair in a text") from error


def wrong(where: str, problem: str) -> Corrupt:
    """The error for a member that is not what it should be."""
    return Corrupt(f"{where} {problem}")


def text(document: Object, key: str, where: str, limit: int = MAX_TEXT) -> str:
    """A text of at most ``limit`` characters without NUL, "" when it is missing or null."""
    return _text(document.get(key), f"{where}.{key}", limit)


def _text(value: object, where: str, limit: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(where, "is not a text")
    if len(value) > limit:
        raise LimitExceeded(f"{where} has {len(value)} characters, more than {limit}")
    if "\0" in value:
        raise wrong(where, "has a NUL character in it")
    return value


def number(document: Object, key: str, where: str, most: int) -> int:
    """A whole number from 0 to ``most``, which must be there."""
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{where}.{key}", "is missing" if value is None else "is not a whole number")
    if not 0 <= value <= most:
        raise wrong(f"{where}.{key}", "is negative" if value < 0 else "is impossibly large")
    return value


def mapping(document: Object, key: str, where: str) -> Object:
    """An object, empty when it is missing or null."""
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(f"{where}.{key}", "is not an object")
    found = cast("Object", value)
    if len(found) > MAX_ITEMS:
        raise LimitExceeded(f"{where}.{key} has {len(found)} entries, more than {MAX_ITEMS}")
    return found


def items(document: Object, key: str, where: str, limit: int = MAX_ITEMS) -> list[object] | None:
    """A list of at most ``limit`` values, None when it is missing or null."""
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise wrong(f"{where}.{key}", "is not a list")
    found = cast("list[object]", value)
    if len(found) > limit:
        raise LimitExceeded(f"{where}.{key} has {len(found)} entries, more than {limit}")
    return found


def entries(value: list[object], where: str) -> list[Object]:
    """A list's values, which must be objects."""
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong(f"{where}[{index}]", "is not an object")
    return cast("list[Object]", value)


def words(document: Object, key: str, where: str) -> tuple[str, ...] | None:
    """A list of texts; one text stands for a list of it (as in Docker's ``strslice``); None when missing or null."""
    value = document.get(key)
    listed: list[object] | None = [value] if isinstance(value, str) else items(document, key, where)
    if listed is None:
        return None
    for index, item in enumerate(listed):
        if item is None:
            raise wrong(f"{where}.{key}[{index}]", "is not a text")
    found = tuple(_text(item, f"{where}.{key}[{index}]", MAX_WORD) for index, item in enumerate(listed))
    for index, word in enumerate(found):
        if len(word) * 4 > MAX_WORD and len(word.encode()) >= MAX_WORD:
            raise LimitExceeded(f"{where}.{key}[{index}] has {MAX_WORD} bytes or more")
    return found


def texts(document: Object, key: str, where: str) -> dict[str, str]:
    """A mapping of texts (labels, annotations)."""
    found = mapping(document, key, where)
    return {
        _text(name, f"{where}.{key}", MAX_TEXT): _text(value, f"{where}.{key}.{name[:80]}", MAX_LABEL)
        for name, value in found.items()
    }


def digest(value: object, where: str) -> Digest:
    """A digest, which must be there."""
    try:
        return Digest.parse(_text(value, where, MAX_TEXT))
    except InvalidInput as error:
        raise wrong(where, f"is wrong: {error.brief}") from error


def unknown(document: Object, known: Collection[str]) -> dict[str, object]:
    """The members that we do not know, verbatim."""
    return {key: value for key, value in document.items() if key not in known}
