"""Moments as people write them. Pure."""

from __future__ import annotations

import re

from monocore_core.errors import InvalidInput
from monocore_core.notation.quantity import parse_duration

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
#: Plain numbers below this are spans, not moments since the epoch: nobody asks for 1970.
_EPOCH = 10_000_000.0


def parse_time(word: str, now: float) -> float:
    """Seconds since the epoch of an RFC 3339 moment (local where it names no zone), of such seconds, or of a span back from ``now``.

    Raises:
        InvalidInput: it is none of these.
    """
    if _SECONDS.fullmatch(word) and float(word) >= _EPOCH:
        return float(word)
    if "-" in word or "T" in word:
        from datetime import datetime

        try:
            return datetime.fromisoformat(word).timestamp()
        except (ValueError, OverflowError):
            pass
    try:
        return max(0.0, now - parse_duration(word))
    except InvalidInput:
        raise InvalidInput(
            f"{word[:40]!r} is not a time",
            hint="for example 2026-01-31T12:00:00Z, or 10m for ten minutes ago",
        ) from None


def local(seconds: float) -> str:
    """RFC 3339 with microseconds, in the local zone."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="microseconds")
