"""Sizes, times and states as Docker words them. Pure."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """A span as Docker's ``units.HumanDuration`` says it: ``Less than a second``, ``About a minute``, ``3 hours``."""
    hours = int(seconds / _HOUR + 0.5)
    steps = (
        (seconds < 1, "Less than a second"),
        (seconds < 2, "1 second"),
        (seconds < _MINUTE, f"{seconds:.0f} seconds" if seconds < 59 else "59 seconds"),
        (seconds < 2 * _MINUTE, "About a minute"),
        (seconds < _HOUR, f"{int(seconds / _MINUTE)} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 14, f"{hours // 24} days"),
        (hours < 24 * 60, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for fits, text in steps if fits), f"{int(seconds / _DAY) // 365} years")


def ago(then: float, now: float) -> str:
    """``3 hours ago``; both in seconds since the epoch. A clock that was put back makes no negative age."""
    return f"{duration(max(0.0, now - then))} ago"


def decimal_size(size: float) -> str:
    """Three significant digits, units of a thousand: ``7.83MB``."""
    return _sized(size, 1000, _UNITS, 3)


def binary_size(size: float) -> str:
    """Four significant digits, units of 1024: ``1.952GiB``."""
    return _sized(size, 1024, _BINARY, 4)


def _sized(size: float, base: int, units: tuple[str, ...], digits: int) -> str:
    value, unit = float(size), 0
    while value >= base * (1 - 0.5 * 10**-digits) and unit < len(units) - 1:
        value, unit = value / base, unit + 1
    return f"{value:.{max(digits, len(str(int(value))))}g}{units[unit]}"


def status(state: str, *, started: float, ended: float, code: int, now: float) -> str:
    """What ``ps`` says of a sandbox: ``Up 2 minutes``, ``Exited (0) 3 seconds ago``, ``Created``.

    Args:
        state: as the daemon has it.
        started: its latest run, seconds since the epoch, or 0.
        ended: of its latest run, likewise.
        code: exit status of its latest run.
        now: seconds since the epoch.
    """
    if state in ("running", "paused"):
        up = f"Up {duration(max(0.0, now - started))}"
        return up if state == "running" else f"{up} (Paused)"
    if state == "exited":
        return f"Exited ({code}) {ago(ended, now)}"
    return state.capitalize()
