"""What the ways in which an attached command can end mean to whoever called us."""

from __future__ import annotations

import signal

from monocore_core.cli.attached import Ending, Exited, Failed, Lost, OutputGone, Signalled
from monocore_core.cli.failures import FAILED, warn


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
