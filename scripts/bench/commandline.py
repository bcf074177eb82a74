"""What a command costs before it does anything: the program as it is installed, against Python by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from monocore_core.testing.samples import busybox_image
from scripts.bench.measure import Claim, Section, in_turns, timed
from scripts.bench.served import PROGRAM, served

TITLE = "command line: whole processes, over a daemon that runs"
#: What the design asks for, seconds.
VERSION, LIST = 0.040, 0.060


def measure(cache: Path, quick: bool) -> Section:
    """A command that asks nobody, one that asks the daemon, and Python."""
    with served(cache, busybox_image(), "bench/small") as daemon:
        environ = {**os.environ, "MONOCORE_HOME": str(daemon.home)}

        def whole(*words: str) -> float:
            return timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environ))

        rows = in_turns(
            "cli",
            {
                "monocore --version": lambda: whole(PROGRAM, "--version"),
                "monocore ps": lambda: whole(PROGRAM, "ps"),
                "python -c pass": lambda: whole(sys.executable, "-c", "pass"),
            },
            runs=10 if quick else 50,
        )
    version, listing, bare = rows.values()
    claims = tuple(
        Claim(
            f"{name} {row.median * 1000:.0f} ms (target {most * 1000:.0f} ms); {row.median / bare.median:.1f} of Python's own",
            row.median <= most,
        )
        for name, row, most in (("--version", version, VERSION), ("ps", listing, LIST))
    )
    return Section(TITLE, tuple(rows.values()), claims)
