"""The processes in a sandbox, read from its ``/proc`` by its agent: the image needs no ``ps``. What the guest says is shown, never trusted."""

from __future__ import annotations

import asyncio

from monocore_core.errors import MonocoreError
from monocore_core.guest.client import Guest

#: Processes that are looked at, and at once.
MAX_PROCESSES, AT_ONCE = 512, 16
#: Most of one file of ``/proc``, bytes.
_MOST = 4096
_CLOCK = 100.0  # USER_HZ, which every Linux shows to programs
_PAGE = 4096


async def processes_of(guest: Guest) -> list[dict[str, object]]:
    """Every process but the kernel's own, by number.

    Raises:
        GuestError: the agent is gone.
    """
    page = await guest.files.list_folder("/proc", limit=2000)
    pids = sorted(int(entry.name) for entry in page.entries if entry.name.isdecimal())[:MAX_PROCESSES]
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(pid: int) -> dict[str, object] | None:
        async with gate:
            try:
                stat, words, status = [
                    await _read(guest, f"/proc/{pid}/{name}") for name in ("stat", "cmdline", "status")
                ]
            except MonocoreError:  # it has ended meanwhile
                return None
            return parse_process(stat, words, status)

    return [found for found in await asyncio.gather(*map(look, pids)) if found is not None]


def parse_process(stat: bytes, words: bytes, status: bytes) -> dict[str, object] | None:
    """One process of its files in ``/proc`` (proc_pid_stat(5)); None for the kernel's, and for what makes no sense. Pure."""
    head, _, rest = stat.rpartition(b")")
    pid, _, name = head.partition(b" (")
    fields = rest.split()
    try:
        cpu = (int(fields[11]) + int(fields[12])) / _CLOCK
        resident = int(fields[21]) * _PAGE
        number, memory = int(pid), int(fields[20])
    except (ValueError, IndexError, OverflowError):
        return None
    command = words.replace(b"\0", b" ").strip()
    if not command and memory == 0:  # no memory of its own: the kernel's
        return None
    uid = next(
        (
            line.split()[1]
            for line in status.splitlines()
            if line.startswith(b"Uid:") and len(line.split()) > 1
        ),
        b"",
    )
    return {
        "pid": number,
        "user": uid.decode(errors="replace"),
        "cpu_seconds": cpu,
        "rss": resident,
        "command": (command or b"[" + name + b"]").decode(errors="replace"),
    }


async def _read(guest: Guest, path: str) -> bytes:
    found = b""
    async for chunk in guest.files.read(path, length=_MOST):
        found += chunk
    return found
