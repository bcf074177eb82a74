"""Errors as a person reads them: one to three lines, the last one saying what to do; never a traceback unless asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from monocore_core.errors import ConfigError, MonocoreError, NothingFits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO, TypeGuard

PROGRAM = "monocore"
#: Statuses of our own making.
FAILED = 125
#: By the signals' numbers, which are everywhere the same: the module of that name takes longer to import than this one.
INTERRUPTED, NOBODY_READS = 128 + 2, 128 + 13
#: Most findings or reasons shown of one error.
MAX_DETAILS = 20
#: Most findings of a configuration: it is put right in one go.
MAX_PROBLEMS = 500


def report(error: BaseException, *, debug: bool, stream: TextIO | None = None) -> int:
    """Say ``error`` on ``stream`` (standard error by default) and give the exit status it stands for."""
    out = sys.stderr if stream is None else stream
    cause = root(error)
    try:
        if debug:
            import traceback  # takes longer than most commands' own modules

            traceback.print_exception(error, file=out)
        for line in describe(cause):
            print(line, file=out)
        out.flush()
    except OSError:  # nobody listens: the status still tells
        pass
    return status(cause)


def root(error: BaseException) -> BaseException:
    """What a group of errors is about: its first error of ours, else the first that is no mere cancellation."""
    if not _is_group(error):
        return error
    leaves = [root(one) for one in error.exceptions]
    ours = [leaf for leaf in leaves if isinstance(leaf, MonocoreError)]
    return (ours or leaves)[0]


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)


def status(error: BaseException) -> int:
    """Exit status for an error."""
    if isinstance(error, MonocoreError):
        return error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return NOBODY_READS
    return FAILED


def describe(error: BaseException) -> list[str]:
    """The lines for an error; none where silence is the custom (a closed pipe, Ctrl-C)."""
    if isinstance(error, KeyboardInterrupt | BrokenPipeError):
        return []
    if isinstance(error, MonocoreError):
        return _ours(error)
    name, text = type(error).__name__, clean(str(error))
    said = f"{name}: {text}" if text else name
    return [f"{PROGRAM}: error: unexpected {said}", "  hint: run again with --debug to see where"]


def _ours(error: MonocoreError) -> list[str]:
    lines = [f"{PROGRAM}: error: {clean(error.brief)}"]
    details: tuple[str, ...] = ()
    most = MAX_DETAILS
    if isinstance(error, ConfigError):
        details, most = error.problems, MAX_PROBLEMS
    elif isinstance(error, NothingFits):
        details = error.reasons
    lines += [f"  {clean(detail)}" for detail in details[:most]]
    if len(details) > most:
        lines.append(f"  … and {len(details) - most} more")
    if error.hint:
        lines.append(f"  hint: {clean(error.hint)}")
    return lines


def clean(text: str, limit: int = 1000) -> str:
    """``text`` on one line, without anything that could drive a terminal: much of it comes from images and registries."""
    words = " ".join(text.split())
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in words)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def warn(text: str) -> None:
    """Say something on standard error that is no error."""
    with contextlib.suppress(OSError):
        print(f"{PROGRAM}: {clean(text)}", file=sys.stderr, flush=True)


def for_each(names: Sequence[str], action: Callable[[str], object], *, debug: bool) -> int:
    """Do it for every name; one that fails does not keep the others from it. The status is 1 when any failed."""
    failed = False
    for name in names:
        try:
            action(name)
        except MonocoreError as error:
            report(error, debug=debug)
            failed = True
    return 1 if failed else 0
