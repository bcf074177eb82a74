"""Processors of the host."""

from __future__ import annotations

import os


def usable() -> int:
    """Processors that this process may use: those of its affinity, where the system has such a thing; at least one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
