"""The values of this room."""

from __future__ import annotations

from attrs import frozen

from monocore_core.model.guest import GuestStats


@frozen
class HostFigures:
    """What processes use of the host, added up. Counters are since the processes began.

    Attributes:
        cpu_ns: processor time, user and system.
        rss: resident bytes; memory that processes share counts in each.
        pss: resident bytes, shared ones in proportion; None where that was not asked for or may not be read.
        read_bytes: fetched from storage; None where it may not be read.
        written_bytes: caused to be written to storage; likewise.
        threads: number.
    """

    cpu_ns: int
    rss: int
    threads: int
    pss: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


@frozen
class Sample:
    """One moment of one sandbox.

    Attributes:
        time_ns: of the host's figures, wall clock, nanoseconds since the epoch.
        host: of the VMM's processes.
        guest: the latest that the guest said of itself, or None.
        guest_time_ns: when it said so, 0 when it has not.
    """

    time_ns: int
    host: HostFigures
    guest: GuestStats | None = None
    guest_time_ns: int = 0
