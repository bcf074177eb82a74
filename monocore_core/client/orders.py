"""What is sent of attrs values: as :func:`monocore_core.serde.unstructure` gives it, without the converter, whose import takes 50 ms."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import cast

import attrs

from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.model.policy import Rule

#: Values that are written as one word. Everything else that is no attrs class, collection or plain value is, too: paths, addresses.
_WORDS = (Digest, Platform, Rule)


def plain(value: object) -> object:
    """Plain data of a value of :mod:`monocore_core.model`, for JSON."""
    if isinstance(value, Enum):
        return value.value
    if value is None or type(value) in (str, int, float, bool):
        return value
    kind = type(value)
    if attrs.has(kind) and not isinstance(value, _WORDS):
        return {one.name: plain(getattr(value, one.name)) for one in attrs.fields(kind)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in cast("tuple[object, ...]", value)]
    return str(value)
