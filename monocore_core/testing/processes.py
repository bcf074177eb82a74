"""What a backend leaves on the host, seen from outside: processes, descriptors, files. Nothing here knows a backend.

A backend's processes inherit :data:`MARK` from ours, or descend from us, or have the machine's key in their words. One in a jail inherits nothing: it
has files open.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

#: Environment variable by which the processes of one test class are found.
MARK = "MONOCORE_CONTRACT"
_POLL = 0.02
_T = TypeVar("_T")


def processes(*words: str) -> frozenset[int]:
    """Living processes, ours excepted, that have one of ``words`` in their environment or arguments, or descend from us.

    Of one without an environment the paths of its open files count as well.
    """
    wanted = [word.encode() for word in words]
    parents: dict[int, int] = {}
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            pid = int(folder.name)
            stat = (folder / "stat").read_bytes()
            fields = stat[stat.rindex(b")") + 2 :].split()
            if fields[0] in (b"Z", b"X"):
                continue
            parents[pid] = int(fields[1])
            environment, arguments = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
            said = environment + arguments
            if arguments and not environment:
                said += b"\0".join(os.fsencode(path) for path in opened(pid))
        except OSError:  # it ended meanwhile, or is another user's
            continue
        if any(word in said for word in wanted):
            found.add(pid)
    ours = os.getpid()
    found |= {pid for pid in parents if _descends(pid, ours, parents)}
    return frozenset(found - {ours})


def opened(pid: int) -> tuple[str, ...]:
    """Paths of the files that a process has open; none when it has ended, or is another user's."""
    found: list[str] = []
    with suppress(OSError):
        for link in Path("/proc", str(pid), "fd").iterdir():
            with suppress(OSError):
                found.append(os.fspath(link.readlink()))
    return tuple(found)


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    for _ in range(len(parents)):
        pid = parents.get(pid, 0)
        if pid == ancestor:
            return True
    return False


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path("/proc", str(pid), "stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 :].split()[0] not in (b"Z", b"X")


async def ended(pid: int, seconds: float) -> bool:
    """Wait until a process, which need not be our child, has ended; False when it still runs after ``seconds``."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        readable, _, _ = await asyncio.to_thread(select.select, [pidfd], [], [], seconds)
        return bool(readable)
    finally:
        os.close(pidfd)


def descriptors() -> Counter[str]:
    """Our open descriptors, by kind and target without inode numbers, that two moments can be compared."""
    found: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:  # the folder's own
            continue
        found[target.split(":[", maxsplit=1)[0]] += 1
    return found


def tree(folder: Path) -> frozenset[str]:
    """Names of everything below a folder."""
    return frozenset(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def settled(look: Callable[[], _T], wanted: Callable[[_T], bool], seconds: float) -> _T:
    """Look until what is seen is ``wanted``, or ``seconds`` are over; gives what was seen last.

    Other processes' ends, and files, wake nobody: so it looks again.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        seen = look()
        if wanted(seen) or loop.time() >= deadline:
            return seen
        await asyncio.sleep(_POLL)
