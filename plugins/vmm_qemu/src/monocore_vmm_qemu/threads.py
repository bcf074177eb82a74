"""Whether TCG may give every emulated processor a thread of its own.

Before QEMU 8.1 a processor's thread translates guest code before the page is locked: what another processor writes to the page in that moment
is missed, and the old translation stays. A Linux guest of several processors then dies now and then in an ``int3`` that it has long
removed (jump labels are patched by way of one): with 7.2 and two processors, 4 of 136 boots on a busy host panicked. With one thread for all
processors, or one processor, nothing is written meanwhile.
"""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

from monocore_vmm_qemu.options import QemuOptions, TcgThreads

#: The first release that locks pages before it translates.
_SOUND = (8, 1)
_VERSION = re.compile(r"version ([0-9]{1,4})\.([0-9]{1,4})")
_WITHIN = 10.0


def multithreaded(binary: Path, options: QemuOptions, vcpus: int) -> bool:
    """Whether a machine of so many processors is emulated by a thread for each. Runs ``binary --version`` once where that is needed."""
    if options.tcg_threads is not TcgThreads.AUTO or vcpus == 1:
        return options.tcg_threads is not TcgThreads.SINGLE
    try:
        status = binary.stat()
    except OSError:
        return False
    found = _version(binary, status.st_mtime_ns, status.st_size)
    return found is not None and found >= _SOUND


def parse_version(text: str) -> tuple[int, int] | None:
    """Of what ``--version`` prints; None when that says none. Pure."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else None


@functools.lru_cache(maxsize=8)
def _version(binary: Path, changed: int, size: int) -> tuple[int, int] | None:
    """Of a program as it was then: another one of that name is asked again."""
    del changed, size
    try:
        done = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout[:4096])
