"""What stands behind a scheme: a path and, for what may hold several images, which of them. Pure.

``FILE``, ``FILE:NAME`` and ``FILE:@N`` (the N-th image, from 0) are understood, as in containers-transports(5). A path may have colons
in it: what exists as a whole is the path; else the shortest part before a colon that exists is; else the part before the first colon.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from attrs import frozen

from monocore_core.errors import InvalidInput
from monocore_core.reference import parse_reference

_NUMBER = re.compile(r"@([0-9]{1,6})\Z")


@frozen
class Place:
    """A path, and the image that is wanted of what is there ("": the only one)."""

    path: str
    wanted: str = ""

    @property
    def number(self) -> int | None:
        """N of ``@N``."""
        found = _NUMBER.match(self.wanted)
        return int(found[1]) if found else None

    def fits(self, names: Iterable[str]) -> bool:
        """Whether one of an image's names is the one that is wanted."""
        return any(same_name(self.wanted, name) for name in names)


def split_place(text: str, exists: Callable[[str], bool]) -> Place:
    """Path and name of what a person wrote behind ``oci-archive:``."""
    colons = [index for index, char in enumerate(text) if char == ":"]
    if not colons or exists(text):
        return Place(text)
    for index in colons:
        if exists(text[:index]):
            return Place(text[:index], text[index + 1 :])
    return Place(text[: colons[0]], text[colons[0] + 1 :])


def same_name(wanted: str, name: str) -> bool:
    """Whether two texts name the same image: verbatim, or both as references (``alpine`` is ``docker.io/library/alpine:latest``)."""
    if wanted == name:
        return True
    try:
        return parse_reference(wanted) == parse_reference(name)
    except InvalidInput:
        return False
