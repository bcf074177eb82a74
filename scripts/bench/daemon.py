"""What the daemon costs while nothing happens: memory, and processor time, with idle sandboxes and with none."""

from __future__ import annotations

import os
import time
from pathlib import Path

from attrs import frozen

from monocore_core.testing.samples import busybox_image
from scripts.bench.measure import Claim, Section
from scripts.bench.peers import PeerFailed
from scripts.bench.served import command, served

TITLE = "daemon: idle, with sandboxes that idle"
#: What the design asks for: MiB without sandboxes, and for each; and part of one processor.
BASE, EACH, IDLE = 60.0, 0.3, 0.01
_MANY, _FEW = 50, 10
#: Seconds over which processor time is counted, after as many in which what has been started settles.
_WATCHED = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class _Weight:
    """Of the daemon's process: MiB resident and proportional, seconds of processor time for each second."""

    resident: float
    proportional: float
    processor: float


def measure(cache: Path, quick: bool) -> Section:
    """A daemon of its own, its sandboxes started over the command line."""
    count = _FEW if quick else _MANY
    with served(cache, busybox_image(), "bench/small") as daemon:
        alone = _weigh(daemon.pid)
        daemon.idle(count)
        loaded = _weigh(daemon.pid)
        if len(command(daemon.home, "ps", "-q").split()) != count:
            raise PeerFailed("not every sandbox idles any more")
    return _section(alone, loaded, count)


def _section(alone: _Weight, loaded: _Weight, count: int) -> Section:
    target = BASE + EACH * count
    each = (loaded.proportional - alone.proportional) / count
    claims = (
        Claim(
            f"{loaded.proportional:.1f} MiB with {count} sandboxes (target {target:g} MiB): "
            f"{alone.proportional:.1f} without, {each:.2f} MiB each (target {EACH:g} MiB)",
            loaded.proportional <= target,
        ),
        Claim(
            f"{loaded.processor:.2%} of a processor with {count} sandboxes (target {IDLE:.0%}), {alone.processor:.2%} without",
            loaded.processor <= IDLE,
        ),
    )
    notes = (
        f"proportional set size; resident: {loaded.resident:.1f} MiB, {alone.resident:.1f} MiB without sandboxes",
        f"processor time over {_WATCHED:g} s",
    )
    return Section(TITLE, (), claims, notes)


def _weigh(pid: int) -> _Weight:
    time.sleep(_WATCHED)
    before, began = _processor(pid), time.monotonic()
    time.sleep(_WATCHED)
    used = (_processor(pid) - before) / (time.monotonic() - began)
    sizes: dict[str, float] = {}
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) / 1024
    return _Weight(sizes["Rss"], sizes["Pss"], used)


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has had, its threads' included."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
