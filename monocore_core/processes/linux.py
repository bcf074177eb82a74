"""Linux: pidfd_open(2), pidfd_send_signal(2), waitid(2) with ``P_PIDFD``, ``/proc/<pid>/stat`` of proc_pid_stat(5)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from attrs import frozen

_START_FIELD = 19
"""Of ``starttime``, counted behind the command's closing bracket (field 22 of the whole line)."""


@frozen
class PidHandle:
    """A process through its pidfd, which is owned from here on."""

    pidfd: int

    def fileno(self) -> int:
        """The pidfd."""
        return self.pidfd

    def signal(self, number: signal.Signals) -> None:
        """See :class:`~monocore_core.processes.handle.Handle`."""
        signal.pidfd_send_signal(self.pidfd, number)

    def collect(self) -> int | None:
        """See :class:`~monocore_core.processes.handle.Handle`."""
        try:
            found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def close(self) -> None:
        """See :class:`~monocore_core.processes.handle.Handle`."""
        os.close(self.pidfd)


def watch(pid: int) -> PidHandle:
    """Watch a process.

    Raises:
        OSError: there is none, or no descriptor is left.
    """
    return PidHandle(os.pidfd_open(pid))


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the host's boot; None when it is gone or a zombie."""
    try:
        text = Path("/proc", str(pid), "stat").read_bytes()
    except OSError:  # ENOENT, or ESRCH when it ended while we read
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before may hold anything
    return None if fields[0] in {b"Z", b"X"} else int(fields[_START_FIELD])


def boot_id() -> str:
    """Names this boot of the host: process numbers and start times mean nothing in another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
