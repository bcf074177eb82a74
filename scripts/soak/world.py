"""What a home has on this machine, seen from outside: processes, network devices, mounts, files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from monocore_core.testing.processes import alive, processes

_SANDBOX = re.compile(rb"monocore-[0-9a-f]{12}")
#: Files that a home keeps when nothing is left of its services: images, their roots, state, templates.
KEPT = ("sandboxes", "logs")


@frozen
class World:
    """What is there at one moment.

    Attributes:
        machines: VMMs of the home's sandboxes. That of a template, which nobody sees, is none.
        processes: that have the home in their words or their environment.
        devices: network devices of this host.
        mounts: below the home.
        files: below those folders of the home that are to be empty without sandboxes.
    """

    machines: frozenset[int]
    processes: frozenset[int]
    devices: frozenset[str]
    mounts: frozenset[str]
    files: frozenset[str]


def look(home: Path) -> World:
    """What there is now."""
    found = processes(str(home))
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return World(
        machines=frozenset(pid for pid in found if _is_machine(pid)),
        processes=found,
        devices=frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        mounts=frozenset(target for target in mounts if target.startswith(f"{home}/")),
        files=frozenset(
            str(path.relative_to(home))
            for name in KEPT
            for path in (home / name).rglob("*")
            if path.is_file()
        ),
    )


def left(before: World, after: World) -> list[str]:
    """What there is now that there was not, a line each; of files and devices, too. Pure."""
    found = [f"process {pid}: {words(pid)}" for pid in sorted(after.processes - before.processes)]
    found += [f"network device {name}" for name in sorted(after.devices - before.devices)]
    found += [f"mount {target}" for target in sorted(after.mounts - before.mounts)]
    return found + [f"file {name}" for name in sorted(after.files - before.files)]


def words(pid: int) -> str:
    """The command line of a process, or its beginning; "" when it is gone."""
    try:
        said = Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return ""
    return said.replace(b"\0", b" ").decode(errors="replace")[:160]


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Look again and again until something is so; whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)  # other processes' doings cannot be awaited but by looking again
    return True


def resident(pid: int) -> float:
    """Memory of a process that is its own, MiB: private pages, and its share of others (PSS)."""
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_time(pid: int) -> float:
    """Seconds of processor time of a process since its start."""
    stat = Path("/proc", str(pid), "stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _is_machine(pid: int) -> bool:
    try:
        said = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"qemu-system" in said[0] and any(_SANDBOX.fullmatch(word) for word in said) and alive(pid)
