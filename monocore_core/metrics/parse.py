"""The kernel's files of figures. Pure.

Source: proc(5), ``Documentation/filesystems/proc.rst``. The files of control groups are :mod:`monocore_core.cgroups`'.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from monocore_core.errors import Corrupt

_UTIME, _STIME, _THREADS, _START, _RSS = 11, 12, 17, 19, 21  # of the fields behind the name


@frozen
class Stat:
    """Of ``/proc/PID/stat``.

    Attributes:
        state: one letter; ``Z`` and ``X`` have ended.
        cpu_ticks: user and system, clock ticks.
        threads: number.
        start_ticks: when the process began, clock ticks since boot: with its id, this names it.
        resident: pages.
    """

    state: str
    cpu_ticks: int
    threads: int
    start_ticks: int
    resident: int


def parse_stat(data: bytes) -> Stat:
    """``/proc/PID/stat``. The process's name may hold anything, blanks and parentheses too.

    Raises:
        Corrupt: it is something else.
    """
    fields = data.rpartition(b")")[2].split()
    try:
        return Stat(
            state=fields[0].decode(),
            cpu_ticks=int(fields[_UTIME]) + int(fields[_STIME]),
            threads=int(fields[_THREADS]),
            start_ticks=int(fields[_START]),
            resident=int(fields[_RSS]),
        )
    except (IndexError, ValueError) as error:
        raise Corrupt(f"/proc/PID/stat is not understood: {data[:80]!r}") from error


def parse_kilobytes(data: bytes) -> Mapping[str, int]:
    """Lines ``Name: N kB`` as bytes by name, others left out: ``/proc/meminfo`` and ``smaps_rollup``."""
    found: dict[str, int] = {}
    for line in data.splitlines():
        name, _, rest = line.partition(b":")
        words = rest.split()
        if len(words) == 2 and words[1] == b"kB" and words[0].isdigit():
            found[name.decode(errors="replace")] = int(words[0]) * 1024
    return found


def parse_colons(data: bytes) -> Mapping[str, int]:
    """Lines ``name: N`` by name, others left out: ``/proc/PID/io``."""
    found: dict[str, int] = {}
    for line in data.splitlines():
        name, _, rest = line.partition(b":")
        if rest.strip().isdigit():
            found[name.decode(errors="replace")] = int(rest)
    return found
