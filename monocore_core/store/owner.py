"""Who made a temporary file or holds a lease: one process of one boot, so that its death is noticed, even after pid reuse."""

from __future__ import annotations

import functools
import os

from attrs import frozen

from monocore_core.processes import boot_id, start_time


@frozen
class Owner:
    """A process, told apart from every other by boot, id and start time. Comparable within one pid namespace.

    Attributes:
        boot: first eight digits of the kernel's boot id.
        pid: process id.
        start: see :func:`~monocore_core.processes.start_time`.
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
        return cls(_boot_id(), pid, start_time(pid) or 0)

    def alive(self) -> bool:
        """Whether that process still runs. A zombie does not."""
        return self.boot == _boot_id() and start_time(self.pid) == self.start


@functools.cache
def _boot_id() -> str:
    return boot_id()[:8]
