"""Who made a temporary file or holds a lease: one process of one boot, so that its death is noticed, even after pid reuse."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from attrs import frozen

_START_FIELD = 19
"""Of ``starttime`` in ``/proc/PID/stat``, counted behind the command's closing bracket (proc(5), field 22)."""


@frozen
class Owner:
    """A process, told apart from every other by boot, id and start time. Comparable within one pid namespace.

    Attributes:
        boot: first eight digits of the kernel's boot id.
        pid: process id.
        start: clock ticks between boot and the process's start.
    """

    boot: str
    pid: int
    start: int

    def __str__(self) -> str:
        return f"{self.boot}-{self.pid}-{self.start}"

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """What :meth:`__str__` gave, or None for anything else."""
        boot, _, rest = text.partition("-")
        pid, _, start = rest.partition("-")
        if not (boot.isalnum() and pid.isdecimal() and start.isdecimal()):
            return None
        return cls(boot, int(pid), int(start))

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(_boot_id(), pid, _start_time(pid) or 0)

    def alive(self) -> bool:
        """Whether that process still runs. A zombie does not."""
        return self.boot == _boot_id() and _start_time(self.pid) == self.start


@functools.cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # ENOENT, or ESRCH when it ended while we read
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[_START_FIELD])
