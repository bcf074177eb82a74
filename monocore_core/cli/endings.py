"""What the ways in which an attached command can end mean to whoever called us."""

from __future__ import annotations

import signal

from monocore_core.cli import terminal
from monocore_core.cli.attached import Ending, Exited, Failed, Lost, OutputGone, Signalled
from monocore_core.cli.failures import FAILED, warn
from monocore_core.errors import InvalidInput


def refuse_no_terminal(*, stdin: bool, tty: bool) -> None:
    """Docker's check of ``-it``.

    Raises:
        InvalidInput: a terminal is wanted, and standard input, which is sent, is none.
    """
    if stdin and tty and not terminal.is_terminal(terminal.STDIN):
        raise InvalidInput(
            "the input device is not a TTY", hint="leave out -t when standard input is a pipe or a file"
        )


def status_of(ending: Ending, lost: str) -> int:
    """The exit status that an ending stands for.

    Args:
        ending: how attending ended.
        lost: is said when the daemon is gone.

    Raises:
        MonocoreError: that the daemon told.
    """
    if isinstance(ending, Failed):
        raise ending.error
    if isinstance(ending, Exited):
        return ending.code
    if isinstance(ending, Lost):
        warn(f"error: the daemon is gone: {lost}")
        return FAILED
    if isinstance(ending, Signalled):
        if ending.forced:
            warn("the command did not react to three signals: it was ended")
        return 128 + (signal.SIGKILL if ending.forced else ending.number)
    return 128 + signal.SIGPIPE if isinstance(ending, OutputGone) else 0
