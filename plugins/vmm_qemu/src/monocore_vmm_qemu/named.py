"""Machines of which nobody knows more than the name, which is on QEMU's command line before anything could be written down."""

from __future__ import annotations

import itertools
import os
import select
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

#: Seconds for the killed to be gone.
_PATIENCE = 5.0


def name_of(key: str) -> str:
    """What the machine of a key is called."""
    return f"monocore-{key}"


def end_named(keys: Collection[str]) -> None:
    """Kill the machines of these keys, and wait until they are gone. Blocking. A handle is taken before a name is read, so that no other process is meant."""
    wanted = {name_of(key).encode() for key in keys}
    killed: list[int] = []
    try:
        for pid in _processes() if wanted else ():
            try:
                handle = os.pidfd_open(pid)
            except OSError:
                continue
            if _is_named(pid, wanted) and _kill(handle):
                killed.append(handle)
            else:
                os.close(handle)
        deadline = time.monotonic() + _PATIENCE
        for handle in killed:
            select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        for handle in killed:
            os.close(handle)


def _is_named(pid: int, wanted: Collection[bytes]) -> bool:
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(flag == b"-name" and word in wanted for flag, word in itertools.pairwise(words))


def _kill(handle: int) -> bool:
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    return True


def _processes() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)
