"""JSON Schema (2020-12) of types: attrs classes, enumerations, lists, tables, unions, and values with a :class:`~.notation.form.Form`.

::

    json_schema(Document, title="monocore.toml")        # a document of its own, other classes in $defs
    definitions = Definitions("#/components/schemas/")  # as OpenAPI has them
    definitions.schema(Service)                         # {"$ref": "#/components/schemas/Service"}; definitions.found has it

A class's description is its docstring's first line, an attribute's comes from ``Attributes:``, bounds come from attrs' validators. Tables have
no further keys. The values that :mod:`monocore_core.serde` writes as text are text here.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Annotated, Union, cast, get_args, get_origin, get_type_hints

import attrs
from attrs import define, field

from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.model.policy import Rule
from monocore_core.notation.form import ALIASES, Form, Json

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Json]

#: Classes that are text in JSON, and the format of it.
_TEXTS: Mapping[type[object], str] = {
    str: "", Path: "", Digest: "", Platform: "", Rule: "",
    IPv4Address: "ipv4", IPv6Address: "ipv6", IPv4Interface: "", IPv6Interface: "", IPv4Network: "", IPv6Network: "",
}  # fmt: skip
_PLAIN: Mapping[type[object], Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    object: {},
}
_COMPARISONS = {">=": "minimum", "<=": "maximum", ">": "exclusiveMinimum", "<": "exclusiveMaximum"}
_ENTRY = re.compile(r"^    (?=\w+: )", re.MULTILINE)


def json_schema(target: type[object], *, title: str, nulls: bool = True) -> Schema:
    """The schema of a class as a document of its own.

    Args:
        target: an attrs class.
        title: for people.
        nulls: see :class:`Definitions`.
    """
    definitions = Definitions(nulls=nulls)
    definitions.schema(target)
    name = target.__name__
    body = definitions.found.pop(name)
    if f'"{definitions.prefix}{name}"' in json.dumps([body, definitions.found]):
        definitions.found[name] = {"$ref": "#"}
    head: Schema = {"$schema": DIALECT, "title": title}
    return {
        **head,
        **body,
        **({"$defs": dict(sorted(definitions.found.items()))} if definitions.found else {}),
    }


def meanings(target: type[object]) -> Mapping[str, str]:
    """The entries of a docstring's ``Attributes:``, each on one line, without a full stop at the end."""
    listed = (inspect.getdoc(target) or "").partition("Attributes:\n")[2]
    pairs = [entry.partition(": ") for entry in cast("list[str]", _ENTRY.split(listed)) if entry.strip()]
    return {name.strip(): " ".join(words.split()).rstrip(".").replace("``", "`") for name, _, words in pairs}


@define
class Definitions:
    """Schemas of classes, each once, under names that others refer to.

    Attributes:
        prefix: of references.
        nulls: whether what may be None may be written as null; in files that people write, such a key is left out.
        found: schemas by class name.
    """

    prefix: str = "#/$defs/"
    nulls: bool = True
    found: dict[str, Schema] = field(factory=dict[str, Schema])
    _classes: dict[str, type[object]] = field(factory=dict[str, type[object]])

    def schema(self, kind: object) -> Schema:
        """The schema of any type that annotations of ours have.

        Raises:
            TypeError: there is none for it, or two classes have one name.
        """
        if get_origin(kind) is Annotated:
            return dict(cast("Form", get_args(kind)[1]).schema)
        if get_origin(kind) is not None or isinstance(kind, types.UnionType):
            return self._generic(kind)
        if not isinstance(kind, type):
            raise TypeError(f"there is no schema for {kind!r}")
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if kind in _TEXTS:
            return {"type": "string", **({"format": _TEXTS[kind]} if _TEXTS[kind] else {})}
        named = cast("type[object]", kind)
        if issubclass(named, Enum) or attrs.has(named):
            return self._reference(named)
        raise TypeError(f"there is no schema for {kind!r}")

    def _generic(self, kind: object) -> Schema:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            arms: list[Json] = []
            for argument in arguments:
                if argument is type(None) and not self.nulls:
                    continue
                arm = self.schema(argument)
                arms += [arm] if arm not in arms else []
            return {"anyOf": arms} if len(arms) > 1 else dict(cast("Schema", arms[0]))
        if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
            return {"type": "array", "items": self.schema(arguments[0])}
        if origin is tuple:
            return {
                "type": "array",
                "prefixItems": [self.schema(argument) for argument in arguments],
                "items": False,
                "minItems": len(arguments),
            }
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        raise TypeError(f"there is no schema for {kind!r}")

    def _reference(self, kind: type[object]) -> Schema:
        name = kind.__name__
        if self._classes.setdefault(name, kind) is not kind:
            raise TypeError(f"two classes have the name {name!r}")
        if name not in self.found:
            self.found[name] = {}  # before its parts, which may refer to it
            self.found[name] = _enumeration(kind) if issubclass(kind, Enum) else self._object(kind)
        return {"$ref": f"{self.prefix}{name}"}

    def _object(self, kind: type[object]) -> Schema:
        hints = get_type_hints(kind, include_extras=True)
        told = meanings(kind)
        properties: dict[str, Json] = {}
        required: list[Json] = []
        either: list[Json] = []
        for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind)):
            aliases = cast("tuple[str, ...]", one.metadata.get(ALIASES, ()))
            schema = self._property(one, hints[one.name], told.get(one.name, ""))
            properties[one.name] = schema
            properties |= {
                alias: {**schema, "description": f"The same as `{one.name}`."} for alias in aliases
            }
            if one.default is attrs.NOTHING and aliases:
                either.append({"anyOf": [{"required": [name]} for name in (one.name, *aliases)]})
            elif one.default is attrs.NOTHING:
                required.append(one.name)
        return {
            **_described(kind),
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            **({"allOf": either} if either else {}),
            "additionalProperties": False,
        }

    def _property(self, one: attrs.Attribute[object], kind: object, meaning: str) -> Schema:
        schema = self.schema(kind)
        schema |= bounds(one.validator)
        if meaning:
            schema["description"] = meaning
        if isinstance(one.default, str | bool | int | float):
            schema["default"] = str(one.default) if isinstance(one.default, Enum) else one.default
        return schema


def _described(kind: type[object]) -> Schema:
    """The first paragraph of the docstring."""
    first = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return {"description": " ".join(first.split()).replace("``", "`")} if first else {}


def _enumeration(kind: type[Enum]) -> Schema:
    return {**_described(kind), "enum": [cast("Json", member.value) for member in kind]}


def bounds(validator: object) -> Schema:
    """What an attrs validator demands, as far as JSON Schema can say it."""
    found: Schema = {}
    for inner in cast("tuple[object, ...]", getattr(validator, "_validators", ())):
        found |= bounds(inner)
    word = _COMPARISONS.get(str(getattr(validator, "compare_op", "")))
    if word:
        found[word] = cast("Json", getattr(validator, "bound", None))
    kind = type(validator).__name__
    if kind == "_MinLengthValidator":
        found["minItems"] = cast("int", getattr(validator, "min_length", 0))
    elif kind == "_MaxLengthValidator":
        found["maxItems"] = cast("int", getattr(validator, "max_length", 0))
    elif kind == "_InValidator":
        found["enum"] = list(cast("tuple[Json, ...]", getattr(validator, "options", ())))
    elif kind == "_MatchesReValidator":
        found["pattern"] = (
            f"^(?:{cast('re.Pattern[str]', getattr(validator, 'pattern', re.compile(''))).pattern})$"
        )
    return found
