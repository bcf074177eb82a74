"""The kernel's files about control groups. Pure.

Sources: cgroups(7), ``Documentation/admin-guide/cgroup-v2.rst``, ``cgroup-v1/`` and ``filesystems/proc.rst`` (mountinfo) of the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from attrs import frozen

_OCTAL = re.compile(rb"\\([0-7]{3})")


@frozen
class Mount:
    """A mounted hierarchy.

    Attributes:
        point: where.
        root: which group of the hierarchy is seen there.
        controllers: of v1; empty for v2, whose groups say themselves what they have.
        version: 1 or 2.
    """

    point: Path
    root: str
    controllers: frozenset[str]
    version: int


def parse_mountinfo(data: bytes) -> tuple[Mount, ...]:
    """The hierarchies in ``/proc/PID/mountinfo``, in its order."""
    found: list[Mount] = []
    for line in data.splitlines():
        before, _, after = line.partition(b" - ")
        left, right = before.split(b" "), after.split(b" ")
        if len(left) < 5 or len(right) < 3 or right[0] not in (b"cgroup", b"cgroup2"):
            continue
        options = frozenset(word.decode(errors="replace") for word in right[2].split(b","))
        version = 2 if right[0] == b"cgroup2" else 1
        controllers = options if version == 1 else frozenset[str]()
        found.append(Mount(Path(_unescape(left[4])), _unescape(left[3]), controllers, version))
    return tuple(found)


def _unescape(field: bytes) -> str:
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field).decode(errors="surrogateescape")


def parse_membership(data: bytes) -> Mapping[str, str]:
    """``/proc/PID/cgroup``: the group of each v1 controller, and of v2 under ""."""
    found: dict[str, str] = {}
    for line in data.decode(errors="surrogateescape").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def folder_of(mount: Mount, path: str) -> Path | None:
    """Where a group is in a mount, or None when it is not below the part that is mounted."""
    if ".." in path.split("/"):
        return None
    inside = PurePosixPath(path)
    if not inside.is_relative_to(mount.root):
        return None
    return mount.point / inside.relative_to(mount.root)


def parse_flat(data: bytes) -> Mapping[str, int]:
    """Lines ``name N`` by name, others left out: ``cpu.stat``, ``memory.events``, ``memory.oom_control``."""
    found: dict[str, int] = {}
    for line in data.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            found[words[0].decode(errors="replace")] = int(words[1])
    return found


def parse_io_stat(data: bytes) -> tuple[int, int]:
    """Bytes read and written, over all devices, of ``io.stat``."""
    read = written = 0
    for line in data.splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition(b"=")
            if value.isdigit():
                read += int(value) if name == b"rbytes" else 0
                written += int(value) if name == b"wbytes" else 0
    return read, written


def parse_number(data: bytes) -> int | None:
    """One number, or None for ``max`` and anything else: ``memory.current``, ``cpuacct.usage``, ``pids.current``."""
    text = data.strip()
    return int(text) if text.isdigit() else None


def parse_pids(data: bytes) -> tuple[int, ...]:
    """``cgroup.procs``; 0 stands for processes of other PID namespaces, and is left out."""
    return tuple(int(word) for word in data.split() if word.isdigit() and word != b"0")
