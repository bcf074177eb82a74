"""``python -m scripts.bench``: run the comparisons, print the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from monocore_core.errors import MonocoreError
from scripts.bench import (
    assemble,
    commandline,
    copies,
    daemon,
    jail,
    load,
    machine,
    network,
    pull,
    start,
    unpack,
)
from scripts.bench.measure import Section, document, table
from scripts.bench.peers import PeerFailed

SECTIONS: Mapping[str, Callable[[Path, bool], Section]] = {
    "pull": pull.measure,
    "assembly": assemble.measure,
    "unpack": unpack.measure,
    "boot": machine.boot,
    "start": start.measure,
    "starts": start.many,
    "weight": start.weight,
    "fork": copies.measure,
    "roundtrip": machine.round_trip,
    "jail": jail.measure,
    "cli": commandline.measure,
    "daemon": daemon.measure,
    "load": load.measure,
    "attach": network.attach,
    "transfer": network.transfer,
}
ROOT = Path(__file__).parents[2]


def main() -> int:
    """Parse, measure, print; 1 when a peer failed."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…", description="Measure monocore and its peers in one run."
    )
    parser.add_argument(
        "--quick", action="store_true", help="smaller images, fewer runs; targets are for the full size"
    )
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {','.join(SECTIONS)} (default: all)")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".cache" / "bench", help="where the images are kept"
    )
    options = parser.parse_args()
    names: list[str] = options.only.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"no such section: {', '.join(unknown)} (there are: {', '.join(SECTIONS)})")
    cache: Path = options.cache
    cache.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            sections.append(SECTIONS[name](cache, options.quick))
        except (MonocoreError, PeerFailed) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    about = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "quick": options.quick,
    }
    print(
        f"\n{about['cpus']} CPUs, {about['machine']}, Linux {about['kernel']}{', quick' if options.quick else ''}"
    )
    print(table(sections))
    if options.json:
        target: Path = options.json
        target.write_text(json.dumps(document(sections, about), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
