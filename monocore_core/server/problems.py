"""Errors as problem details (RFC 9457). Pure."""

from __future__ import annotations

import re

from monocore_core import errors

#: The first class that fits gives the status.
STATUSES: tuple[tuple[type[errors.MonocoreError], int], ...] = (
    (errors.CommandNotFound, 404),
    (errors.CommandNotExecutable, 422),
    (errors.InvalidInput, 400),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Unauthenticated, 401),
    (errors.Unauthorized, 403),
    (errors.NothingFits, 422),
    (errors.Unsupported, 422),
    (errors.LimitExceeded, 429),
    (errors.StorageError, 507),
    (errors.TooSlow, 408),
    (errors.DeadlineExceeded, 504),
    (errors.Unreachable, 502),
    (errors.MachineError, 502),
    (errors.GuestError, 502),
    (errors.Corrupt, 502),
)
MEDIA_TYPE = "application/problem+json"


def problem_of(error: BaseException) -> dict[str, object]:
    """The problem document of an error. What is not ours is told by its class alone: its words may hold anything."""
    if not isinstance(error, errors.MonocoreError):
        return problem(
            "InternalError", 500, f"the daemon failed: {type(error).__name__}", "see the daemon's log"
        )
    status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
    found = problem(type(error).__name__, status, error.brief, error.hint or "")
    for name in ("problems", "reasons"):
        if details := getattr(error, name, ()):
            found[name] = list(details)
    return found


def problem(title: str, status: int, detail: str, hint: str = "") -> dict[str, object]:
    """A problem document."""
    word = re.sub(r"(?<!^)(?=[A-Z])", "-", title).lower()
    found: dict[str, object] = {
        "type": f"urn:monocore:{word}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    return {**found, "hint": hint} if hint else found
