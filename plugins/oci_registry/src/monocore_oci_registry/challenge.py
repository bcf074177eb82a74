"""Reading ``WWW-Authenticate`` (RFC 9110, 11.6.1), from servers that are not careful. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import field, frozen

#: Characters of one header that are looked at, and challenges that are taken.
MAX_HEADER, MAX_CHALLENGES = 16 * 1024, 16
_SCHEME = re.compile(r"[ \t,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?=[ \t]|,|$)")
_PARAMETER = re.compile(
    r"[ \t,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))", re.DOTALL
)


@frozen
class Challenge:
    """One way to authenticate that a server offers: the scheme in lower case, and its parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str] = field(factory=dict[str, str])


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge of the headers in order; what cannot be read is skipped."""
    found: list[Challenge] = []
    for header in headers:
        text, position = header[:MAX_HEADER], 0
        while len(found) < MAX_CHALLENGES and (match := _SCHEME.match(text, position)):
            parameters: dict[str, str] = {}
            position = match.end()
            while pair := _PARAMETER.match(text, position):
                quoted, plain = pair[2], pair[3]
                value = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else plain
                parameters.setdefault(pair[1].lower(), value)
                position = pair.end()
            found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)
