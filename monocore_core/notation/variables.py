"""Variables of an environment, as Docker writes them. Pure; a refusal is an InvalidInput that shows a right one."""

from __future__ import annotations

from collections.abc import Mapping

from monocore_core.errors import InvalidInput


def expand_env(text: str, environ: Mapping[str, str]) -> str | None:
    """``NAME=value`` as it stands, ``NAME`` with its value here, or None where it has none (as Docker does)."""
    name, equals, _ = text.partition("=")
    if not name or "\0" in text:
        raise InvalidInput(f"{text[:80]!r} is not a variable", hint="NAME=value, or NAME to pass it on")
    if equals:
        return text
    return f"{name}={environ[name]}" if name in environ else None
