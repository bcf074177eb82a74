"""How much memory the host has left, and whether anything waits for it. See proc_meminfo(5) and the kernel's ``accounting/psi``."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from monocore_core.metrics.parse import parse_kilobytes

_LIMIT = 1 << 14
_PROC = Path("/proc")


@frozen
class HostMemory:
    """Memory of the host.

    Attributes:
        available: bytes that can be had without swapping.
        stalled: percent of the last ten seconds in which something waited for memory; 0 where the kernel does not say.
    """

    available: int
    stalled: float


def read_host_memory(proc: Path = _PROC) -> HostMemory:
    """How it is now; a kernel that says nothing has all the memory in the world."""
    told = parse_kilobytes(_read(proc / "meminfo"))
    return HostMemory(told.get("MemAvailable", 1 << 62), stalled_of(_read(proc / "pressure" / "memory")))


def stalled_of(text: bytes) -> float:
    """``some avg10`` of a pressure file; 0 where it is not to be found. Pure."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [b"some"]:
            for word in words[1:]:
                name, _, value = word.partition(b"=")
                if name == b"avg10":
                    return _number(value)
    return 0.0


def _number(text: bytes) -> float:
    try:
        return min(100.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return b""
