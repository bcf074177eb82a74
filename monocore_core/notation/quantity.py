"""Sizes and durations, as people write them. Pure; every refusal is an InvalidInput that shows a right one."""

from __future__ import annotations

import re

from monocore_core.errors import InvalidInput

MAX_BYTES = 2**63 - 1
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9.]+)(ms|[smhd])", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """``512m``, ``1.5g``, ``512MiB``, ``512MB`` (all binary, as Docker's), or plain bytes, to bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is not a size", hint="for example 512m, 1.5g or 512MiB")
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[match[2].lower()]
    value = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    if not 0 < value <= MAX_BYTES:
        raise InvalidInput(f"size {text[:40]!r} is out of range", hint="for example 512m, 1.5g or 512MiB")
    return value


def parse_duration(text: str) -> float:
    """``10`` or ``1.5`` (seconds), ``90s``, ``500ms``, ``1h30m``, ``2d``, to seconds."""
    word = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", word, re.ASCII):
        word += "s"
    if not _DURATION.fullmatch(word):
        raise InvalidInput(
            f"{text[:40]!r} is not a duration", hint="for example 10, 1.5s, 500ms, 5m or 1h30m"
        )
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(word))
    if seconds <= 0:
        raise InvalidInput(
            f"duration {text[:40]!r} is nothing", hint="for example 10, 1.5s, 500ms, 5m or 1h30m"
        )
    return seconds
