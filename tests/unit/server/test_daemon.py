"""What the daemon makes of its settings, and of its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from monocore_core.model.daemon import DaemonSettings
from monocore_core.server.daemon import MAX_SAMPLES, samples_kept

_GROWTH = """
import re, sys
from pathlib import Path
from threading import Thread
from monocore_core.server.memory import thrifty

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def start():
    # blocks as a start has them: a large one first, which would raise the size from which blocks are mapped
    large = bytearray(b"x" * (24 << 20))
    del large
    blocks = [bytearray(b"y" * (2 << 20)) for _ in range(8)]
    kept.append(bytearray(300_000))

if sys.argv[1] == "thrifty":
    thrifty()
kept = []
before = resident()
threads = [Thread(target=start) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""


@pytest.mark.parametrize(
    ("history", "interval", "kept"), [(600, 10, 60), (0, 10, 2), (1, 0.4, 3), (1e9, 0.1, MAX_SAMPLES)]
)
def test_samples_are_kept_as_long_as_is_wished(history: float, interval: float, kept: int) -> None:
    assert samples_kept(DaemonSettings(metrics_history=history, metrics_interval=interval)) == kept


def test_what_starts_took_is_given_back() -> None:
    words = [sys.executable, "-c", _GROWTH, "thrifty"]
    grown = int(subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert grown < 6 * 1024  # KiB; what is kept is 1.2 MiB
