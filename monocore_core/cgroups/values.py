"""The values of this room."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, gt, optional


class Limit(StrEnum):
    """What can be limited, by the name of its controller in cgroup v2."""

    CPU = "cpu"
    MEMORY = "memory"
    PIDS = "pids"
    IO = "io"


_some = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class IoLimit:
    """Of the device that holds ``path``; per second, None for no limit."""

    path: Path
    read_bytes: int | None = _some
    write_bytes: int | None = _some
    read_operations: int | None = _some
    write_operations: int | None = _some


@frozen(kw_only=True)
class Limits:
    """Of the processes of one group together; None for no limit.

    Attributes:
        cpu: cores, for example 0.5.
        memory: bytes, page cache included; above it the kernel reclaims, then kills.
        pids: processes and threads.
        io: of one device.
    """

    cpu: float | None = field(default=None, validator=optional(gt(0)))
    memory: int | None = field(default=None, validator=optional(ge(1 << 20)))
    pids: int | None = field(default=None, validator=optional(ge(1)))
    io: IoLimit | None = None

    def wanted(self) -> tuple[Limit, ...]:
        """Which of them are set."""
        values = {Limit.CPU: self.cpu, Limit.MEMORY: self.memory, Limit.PIDS: self.pids, Limit.IO: self.io}
        return tuple(limit for limit, value in values.items() if value is not None)


@frozen
class Usage:
    """Of the processes of one group, those that ended included; None where the group has no such controller.

    Attributes:
        cpu_ns: processor time.
        throttled_ns: time in which they wanted to run and were not let.
        memory: bytes at present, page cache included.
        pids: processes and threads at present.
        oom_kills: processes that the kernel killed at the limit of memory.
        read_bytes: from devices.
        written_bytes: to devices.
    """

    cpu_ns: int | None = None
    throttled_ns: int | None = None
    memory: int | None = None
    pids: int | None = None
    oom_kills: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
