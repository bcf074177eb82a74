"""The files of a new plugin package. Pure: names and a kind in, texts out; the templates are beside this module."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from monocore_core.errors import InvalidInput

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*\Z")
_MAX_NAME = 40
#: Names that would be mistaken for the core's own packages.
RESERVED = frozenset({"core", "auto", "none", "monocore", "testing"})


class Kind(StrEnum):
    """What a plugin offers."""

    MERGER = "merger"
    NETWORK = "network"
    VMM = "vmm"
    IMAGE_SOURCE = "image-source"


@frozen
class Names:
    """What one name becomes.

    Attributes:
        backend: by which ``monocore.toml`` chooses it.
        module: that is imported.
        distribution: that is installed.
        scheme: of references, for an image source.
    """

    backend: str
    module: str
    distribution: str
    scheme: str

    @classmethod
    def of(cls, name: str) -> Names:
        """From what a person gave: ``fancy``, ``layer-fancy`` or ``layer_fancy``, with or without ``monocore-`` before it.

        Raises:
            InvalidInput: it cannot be the name of a package.
        """
        plain = name.removeprefix("monocore-").removeprefix("monocore_")
        if not _NAME.match(plain) or len(plain) > _MAX_NAME:
            raise InvalidInput(
                f"{name[:80]!r} cannot be the name of a plugin",
                hint=f"use at most {_MAX_NAME} small letters, digits and '-', beginning with a letter: layer-fancy",
            )
        backend = plain.replace("-", "_")
        if backend in RESERVED or keyword.iskeyword(backend):
            raise InvalidInput(f"the name {plain!r} is taken", hint=f"for example: my-{plain}")
        return cls(
            backend=backend,
            module=f"monocore_{backend}",
            distribution=f"monocore-{backend.replace('_', '-')}",
            scheme=backend.replace("_", "-"),
        )


def files(names: Names, kind: Kind) -> Mapping[str, str]:
    """Path in the new package to text."""
    found: dict[str, str] = {}
    for folder in ("common", kind.value):
        for template in sorted((_TEMPLATES / folder).glob("*.txt")):
            path = template.name.removesuffix(".txt").replace("~", "/")
            found[_filled(path, names, kind)] = _filled(template.read_text(), names, kind)
    return found


def _filled(text: str, names: Names, kind: Kind) -> str:
    for mark, word in (
        ("BACKEND", names.backend),
        ("MODULE", names.module),
        ("DISTRIBUTION", names.distribution),
        ("SCHEME", names.scheme),
        ("KIND", kind.value.replace("-", "_")),
    ):
        text = text.replace(f"@{mark}@", word)
    return text
