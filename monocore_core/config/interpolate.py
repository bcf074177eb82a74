"""``${NAME}`` in texts. Pure.

==========================  ==========================================================
``${NAME}``                 the variable; an error where there is none
``${NAME:-text}``           ``text`` where there is none, or it is empty
``${NAME-text}``            ``text`` where there is none
``${NAME:?message}``        an error with this message where there is none, or it is empty
``$$``                      a dollar
==========================  ==========================================================

A dollar that none of these begins with stands for itself, so ``$HOME`` reaches a shell in the sandbox as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from monocore_core.config.tree import Node, Problems
from monocore_core.errors import InvalidInput

_REFERENCE = re.compile(r"\$(?:\$|\{([^}]*)(\}?))")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?])(.*))?\Z", re.DOTALL)


def interpolate(node: Node, environ: Mapping[str, str], problems: Problems) -> Node:
    """The tree with every variable filled in; keys are left as they are."""
    value = node.value
    if isinstance(value, Mapping):
        value = {key: interpolate(part, environ, problems) for key, part in value.items()}
    elif isinstance(value, list):
        value = [interpolate(part, environ, problems) for part in value]
    elif isinstance(value, str) and "$" in value:
        try:
            value = fill_in(value, environ)
        except InvalidInput as error:
            problems.refused(node.place, error)
    return Node(value, node.place)


def fill_in(text: str, environ: Mapping[str, str]) -> str:
    """The text with its variables filled in.

    Raises:
        InvalidInput: a variable is not set, or a reference is malformed.
    """
    return _REFERENCE.sub(lambda found: _replacement(found, environ), text)


def escape(text: str) -> str:
    """What :func:`fill_in` turns into ``text``."""
    return re.sub(r"\$(?=[${])", "$$", text)


def _replacement(found: re.Match[str], environ: Mapping[str, str]) -> str:
    if found[1] is None:
        return "$"
    inside = _INSIDE.match(found[1]) if found[2] else None
    if inside is None:
        raise InvalidInput(
            f"{found[0][:80]!r} is not a variable: write ${{NAME}} or ${{NAME:-text}}, and $$ for a dollar"
        )
    name, kind, rest = inside[1], inside[2] or "", inside[3] or ""
    value = environ.get(name)
    missing = value is None or (kind.startswith(":") and not value)
    if not missing and value is not None:
        return value
    if kind.endswith("-"):
        return rest
    if kind.endswith("?") and rest:
        raise InvalidInput(f"variable {name}: {rest[:200]}")
    raise InvalidInput(f"variable {name} is not set: set it, or write ${{{name}:-text}} for a default")
