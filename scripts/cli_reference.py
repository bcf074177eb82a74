"""Write ``docs/cli.md`` from what the commands say of themselves: ``python -m scripts.cli_reference``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from monocore_core.cli.main import COMMANDS

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 100
#: Commands of commands.
ACTIONS = {
    "images": ("inspect", "rm", "prune", "load", "save"),
    "config": ("check", "show", "schema"),
    "context": ("create", "use", "show", "inspect", "rm"),
    "add": ("service",),
    "remove": ("service",),
}

INTRODUCTION = """\
# Command line

Written from the commands' own help by `make reference`; `mc` is short for `monocore`.

| exit status | |
|---|---|
| the command's own | `run`: the command ended by itself |
| 0 | success |
| 1 | of several that were named (`rm`, `images rm`, `inspect` …) some could not be served |
| 124 | `run --timeout`: the time was up |
| 125 | monocore failed; standard error says why and what to do |
| 126 | the command exists in the image but cannot be run |
| 127 | the command does not exist in the image |
| 128 + *n* | the command, or monocore, was ended by signal *n* |
"""


def text() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _section("monocore", ())]
    for name in COMMANDS:
        parts += [_section(f"monocore {name}", (name,))]
        parts += [_section(f"monocore {name} {action}", (name, action)) for action in ACTIONS.get(name, ())]
    return "\n".join(parts)


def _section(title: str, words: tuple[str, ...]) -> str:
    environ = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    argv = [sys.executable, "-m", "monocore_core", *words, "--help"]
    done = subprocess.run(
        argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True
    )
    return f"## `{title}`\n\n```text\n{done.stdout.rstrip()}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(text())
