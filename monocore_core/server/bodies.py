"""Requests' words and bodies to values: bounded, strict, every refusal with the place. Pure but for the reading of a body."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar
from urllib.parse import parse_qs

from aiohttp import web

from monocore_core.config.single import parse_sandbox
from monocore_core.errors import InvalidInput, LimitExceeded, TooSlow
from monocore_core.model.record import SandboxOrder
from monocore_core.model.sandbox import CommandRequest
from monocore_core.serde import structure

T = TypeVar("T")
#: Largest body that is read whole, bytes.
MAX_BODY = 4 * 1024 * 1024
#: Seconds that a body which is read whole may take, and that one which is streamed may be silent.
BODY_TIME, BODY_SILENCE = 60.0, 300.0
#: Parameters of a request, where they may hold any bytes.
MAX_PARAMETERS = 100
_SWITCH = {"1": True, "true": True, "": True, "0": False, "false": False}


async def table_of(request: web.Request) -> dict[str, object]:
    """The JSON object in a request's body; an empty body is an empty object.

    Raises:
        InvalidInput: it is none. LimitExceeded: it is too large. TooSlow: it does not come within :data:`BODY_TIME`.
    """
    data = b""
    try:
        async with asyncio.timeout(BODY_TIME):
            while len(data) <= MAX_BODY and (more := await request.content.read(MAX_BODY + 1 - len(data))):
                data += more
    except TimeoutError as error:
        raise TooSlow(f"the request's body did not come within {BODY_TIME:g} seconds") from error
    if len(data) > MAX_BODY:
        raise LimitExceeded(f"the request's body is larger than {MAX_BODY} bytes")
    return parse_table(data, "the request's body")


async def stream_of(request: web.Request) -> AsyncGenerator[bytes]:
    """A body of any length, piece by piece.

    Raises:
        TooSlow: nothing came for :data:`BODY_SILENCE`, while it was waited for.
    """
    while True:
        try:
            async with asyncio.timeout(BODY_SILENCE):
                piece = await request.content.readany()
        except TimeoutError as error:
            raise TooSlow(f"nothing of the request's body came for {BODY_SILENCE:g} seconds") from error
        if not piece:
            return
        yield piece


def parse_table(data: bytes | str, what: str) -> dict[str, object]:
    """A JSON object.

    Raises:
        InvalidInput: it is none.
    """
    if not data.strip():
        return {}
    try:
        found: object = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} is not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} is not a JSON object")
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON


def order_of(table: Mapping[str, object]) -> SandboxOrder:
    """A sandbox's order: one as the command line sends it, which has a ``sandbox``, or one in the words of a service.

    Raises:
        ConfigError: with every problem. InvalidInput: values that are good alone and not together.
    """
    if "sandbox" not in table:
        return parse_sandbox(table)
    order = structure(table, SandboxOrder, "the order")
    if order.command is not None:
        _refuse_passing_on(order.command)
    return order


def command_of(table: Mapping[str, object]) -> CommandRequest:
    """A further process.

    Raises:
        ConfigError: with every problem. InvalidInput: a variable without a value.
    """
    command = structure(table, CommandRequest, "the command")
    _refuse_passing_on(command)
    return command


def _refuse_passing_on(command: CommandRequest) -> None:
    """Clients pass on what is theirs, before they send it; the daemon's own environment is nobody's."""
    for word in command.env:
        if "=" not in word:
            raise InvalidInput(
                f"variable {word[:80]!r} has no value",
                hint="write NAME=value: the daemon passes on nothing of its environment",
            )


def switch(request: web.Request, name: str, default: bool = False) -> bool:
    """A parameter that is on or off.

    Raises:
        InvalidInput: it is neither.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if text.lower() not in _SWITCH:
        raise InvalidInput(f"parameter {name}: {text[:40]!r} is neither 1 nor 0")
    return _SWITCH[text.lower()]


def number(request: web.Request, name: str, most: float = 1e18) -> float | None:
    """A parameter that is a number from 0 on, or None where it is not given.

    Raises:
        InvalidInput: it is none.
    """
    text = request.query.get(name)
    if text is None:
        return None
    return checked_number(text, f"parameter {name}", most)


def checked_number(value: object, what: str, most: float = 1e18) -> float:
    """``value`` as a number from 0 to ``most``.

    Raises:
        InvalidInput: it is none.
    """
    try:
        found = (
            float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        )
    except (ValueError, OverflowError):
        found = math.nan
    if not 0 <= found <= most:
        raise InvalidInput(f"{what}: {str(value)[:40]!r} is not a number from 0 to {most:g}")
    return found


def path_of(request: web.Request) -> str:
    """The parameter ``path``: absolute, in the guest. Bytes that are not UTF-8 become surrogate escapes (``os.fsdecode``).

    Raises:
        InvalidInput: it is missing or not absolute.
    """
    path = raw_text(request, "path")
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(f"parameter path: {path[:200]!r} is not an absolute path")
    return path


def texts_of(table: Mapping[str, object], name: str) -> tuple[str, ...] | None:
    """A list of texts in a body, or None where it is not given.

    Raises:
        InvalidInput: it is none.
    """
    found = table.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):  # pyright: ignore[reportUnknownVariableType] - JSON
        raise InvalidInput(f"{name} is not a list of texts")
    return tuple(str(one) for one in found)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON


def inner_table(table: Mapping[str, object], name: str) -> dict[str, object]:
    """A table in a body; an empty one where it is not given.

    Raises:
        InvalidInput: it is none.
    """
    found = table.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(f"{name} is not an object")
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON


def raw_text(request: web.Request, name: str) -> str:
    """A parameter that may hold any bytes, percent-encoded; "" where it is not given.

    Raises:
        InvalidInput: there are too many parameters.
    """
    query = request.rel_url.raw_query_string
    try:
        found = parse_qs(
            query, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise InvalidInput(f"the request has more than {MAX_PARAMETERS} parameters") from error
    return found.get(name, [""])[0]


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not a number")
