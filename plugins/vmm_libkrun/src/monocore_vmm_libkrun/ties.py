"""Lets a machine's process end with the fork server, however that ends.

Linux does it (prctl(2), ``PR_SET_PDEATHSIG``), whatever has become of the process. Elsewhere a thread of the process waits for the end of a pipe
whose other end the server alone has: written for macOS, where it was not run; a test runs it on Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def tie(parent: int, lifeline: int, *, kernel: bool = sys.platform == "linux") -> bool:
    """Tie this process to its parent; whether the parent was still there.

    Args:
        parent: the fork server's number.
        lifeline: reading end of its pipe. Owned by the thread, or closed.
        kernel: whether the kernel does it.
    """
    if kernel:
        os.close(lifeline)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_wait, args=(lifeline,), name="lifeline", daemon=True).start()
    return os.getppid() == parent


def renounce() -> None:
    """Let no program that this process becomes have more rights than it; only Linux has a call for that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _wait(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)
