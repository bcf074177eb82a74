"""Reads what processes use of the host."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from monocore_core.metrics.parse import Stat, parse_colons, parse_kilobytes, parse_stat
from monocore_core.metrics.values import HostFigures

PROC = Path("/proc")
_LIMIT = 1 << 14
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def read_process(
    pid: int, *, pss: bool = False, start_ticks: int | None = None
) -> tuple[HostFigures, int] | None:
    """The figures of a process and when it began (clock ticks since boot), or None when it has ended.

    Args:
        pid: its id.
        pss: also walk its page tables for its share of shared memory: a millisecond for every few hundred MiB.
        start_ticks: when it began, to be sure that it is the same; None for any.
    """
    stat = _stat(pid)
    if stat is None or start_ticks not in (None, stat.start_ticks):
        return None
    io = parse_colons(_read(pid, "io") or b"")
    memory = parse_kilobytes((_read(pid, "smaps_rollup") or b"") if pss else b"")
    figures = HostFigures(
        cpu_ns=stat.cpu_ticks * _TICK_NS,
        rss=stat.resident * _PAGE,
        threads=stat.threads,
        pss=memory.get("Pss"),
        read_bytes=io.get("read_bytes"),
        written_bytes=io.get("write_bytes"),
    )
    return figures, stat.start_ticks


def add_up(figures: Iterable[HostFigures]) -> HostFigures | None:
    """Of several processes; what is unknown of one is unknown of all. None when there are none."""
    several = list(figures)
    if not several:
        return None
    return HostFigures(
        cpu_ns=sum(one.cpu_ns for one in several),
        rss=sum(one.rss for one in several),
        threads=sum(one.threads for one in several),
        pss=_sum(one.pss for one in several),
        read_bytes=_sum(one.read_bytes for one in several),
        written_bytes=_sum(one.written_bytes for one in several),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _stat(pid: int) -> Stat | None:
    data = _read(pid, "stat")
    if not data:
        return None
    stat = parse_stat(data)
    return None if stat.state in {"Z", "X", "x"} else stat


def _read(pid: int, name: str) -> bytes | None:
    """A file of a process; None when it has ended, or the file is not ours to read."""
    try:
        descriptor = os.open(f"{PROC}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _LIMIT)
    except OSError:  # ended between the two
        return None
    finally:
        os.close(descriptor)
