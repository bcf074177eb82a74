"""How long a stop is gentle, as people write it. Pure."""

from __future__ import annotations

from monocore_core.errors import InvalidInput

#: Longest time to stop in, seconds.
MAX_GRACE = 3600.0


def parse_grace(word: str) -> float:
    """Seconds until force, or a duration.

    Raises:
        InvalidInput: it is none, or too long.
    """
    from monocore_core.notation.quantity import parse_duration

    seconds = 0.0 if word == "0" else parse_duration(word)
    if seconds > MAX_GRACE:
        raise InvalidInput(f"{word[:40]!r} is too long", hint=f"at most {MAX_GRACE:g} seconds")
    return seconds
