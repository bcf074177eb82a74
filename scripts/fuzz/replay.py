"""Run the seeds and the kept inputs of one target, each once: ``python -m scripts.fuzz.replay NAME [FILE …]``."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.fuzz import corpus
from scripts.fuzz.targets import load


def main(name: str, *files: str) -> None:
    """Run them; what an input raises ends this."""
    target = load(name)
    inputs = [Path(file).read_bytes() for file in files] or [*target.seeds(), *corpus.read(name)]
    for data in inputs:
        target.run(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
