"""The OpenAPI 3.1 document of the routes: paths and words from the table of routes, schemas of bodies from the types. Pure.

What a route takes and gives is in :mod:`.operations`; a route that is not described there has its summary alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

from attrs import field, frozen

from monocore_core import __version__
from monocore_core.notation.form import Json
from monocore_core.schema import Definitions, Schema
from monocore_core.server.problems import MEDIA_TYPE, STATUSES

_NAME = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
JSON: Final = "application/json"
#: Tag of what is not below ``/v1``.
ORIGINAL: Final = "0.2.1"


@frozen
class Parameter:
    """One of a query."""

    name: str
    description: str
    schema: Schema = field(factory=lambda: Schema({"type": "string"}))
    required: bool = False


@frozen
class Operation:
    """What a route takes and gives.

    Attributes:
        parameters: of its query.
        body: type of a JSON body, or a media type of another one; None for none.
        statuses: of good answers, with their words.
        answers: media type of a good answer; "" for an empty one.
        schema: of a good answer in JSON.
        also: media types of good answers that parameters ask for.
    """

    parameters: tuple[Parameter, ...] = ()
    body: object = None
    statuses: Mapping[int, str] = field(factory=lambda: {200: "As asked."})
    answers: str = JSON
    schema: Schema = field(factory=dict[str, Json])
    also: tuple[str, ...] = ()


@frozen
class Described:
    """A route, as the document has it."""

    method: str
    path: str
    summary: str
    operation: Operation = Operation()


def described(method: str, path: str, handler: object, operations: Mapping[str, Operation]) -> Described:
    """A route by its handler, whose docstring's first line is its summary."""
    summary = (inspect.getdoc(handler) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
    return Described(method, path, summary, operations.get(f"{method} {_plain(path)}", Operation()))


def document(routes: Iterable[Described]) -> dict[str, Json]:
    """The whole document."""
    definitions = Definitions("#/components/schemas/")
    definitions.found["Problem"] = _PROBLEM
    paths: dict[str, dict[str, Json]] = {}
    for one in routes:
        paths.setdefault(_plain(one.path), {})[one.method.lower()] = _operation(one, definitions)
    return {
        "openapi": "3.1.0",
        "info": {"title": "monocore", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(definitions.found.items()))},
    }


def _plain(path: str) -> str:
    """A path with the names of its parts alone."""
    return _NAME.sub(r"{\1}", path)


def _operation(one: Described, definitions: Definitions) -> Json:
    wanted = one.operation
    found: dict[str, Json] = {
        "operationId": re.sub(r"\W+", "_", f"{one.method.lower()}_{_plain(one.path)}").strip("_"),
        "summary": one.summary,
        "tags": [_tag(one.path)],
        "responses": {**_bad(original=_tag(one.path) == ORIGINAL), **_good(wanted)},
    }
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _NAME.findall(one.path)
    ]
    parameters += [
        {
            "name": each.name,
            "in": "query",
            "required": each.required,
            "description": each.description,
            "schema": each.schema,
        }
        for each in wanted.parameters
    ]
    if parameters:
        found["parameters"] = parameters
    if wanted.body is not None:
        found["requestBody"] = _body(wanted.body, definitions)
    return found


def _body(body: object, definitions: Definitions) -> Json:
    if isinstance(body, str):
        return {"required": True, "content": {body: {"schema": {"type": "string", "format": "binary"}}}}
    schema = cast("Schema", body) if isinstance(body, dict) else definitions.schema(body)
    return {"required": True, "content": {JSON: {"schema": schema}}}


def _good(wanted: Operation) -> dict[str, Json]:
    content: dict[str, Json] = {wanted.answers: {"schema": wanted.schema}} if wanted.answers else {}
    content |= {kind: {"schema": {"type": "string"}} for kind in wanted.also}
    return {
        str(status): {"description": words, **({"content": content} if content and status != 204 else {})}
        for status, words in wanted.statuses.items()
    }


def _bad(*, original: bool) -> dict[str, Json]:
    """A problem of any kind: which route can have which follows from what lies beneath it. The original's routes say theirs as it did, once who asks may ask."""
    content: dict[str, Json] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if original:
        content[JSON] = {"schema": _ERROR}
    words: dict[int, list[str]] = {}
    for kind, status in STATUSES:
        words.setdefault(status, []).append(kind.__name__)
    return {
        **{
            str(status): {"description": ", ".join(names), "content": content}
            for status, names in sorted(words.items())
        },
        "default": {"description": "Another problem.", "content": content},
    }


def _tag(path: str) -> str:
    words = [word for word in path.split("/") if word and not word.startswith("{")]
    return words[1] if len(words) > 1 and words[0] == "v1" else ORIGINAL


_ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}


_PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The class of the error."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that names the object."},
        "hint": {"type": "string", "description": "What to do."},
        "problems": {"type": "array", "items": {"type": "string"}, "description": "Each with its path."},
        "reasons": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why not, for each backend.",
        },
    },
    "required": ["type", "title", "status", "detail"],
}
