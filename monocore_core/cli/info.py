"""``monocore info``: the daemon."""

from __future__ import annotations

import time

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_document
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.humane import duration
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import Table, inner, number, text, whole


def main(words: list[str], options: Globals) -> int:
    """Run ``info``."""
    parser = Parser(
        "monocore info", "Show the daemon: its version, its home, and how many sandboxes it keeps."
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    found = reach(options).call("GET", target("info"))
    if parsed.json:
        print_document(found)
        return 0
    for line in lines(found, time.time()):
        print(line)
    return 0


def lines(info: Table, now: float) -> list[str]:
    """For a person. Pure."""
    counts = inner(info, "sandboxes")
    return [
        f"Version:    {clean(text(info, 'version'))}",
        f"Home:       {clean(text(info, 'home'))}",
        f"Process:    {whole(info, 'pid')}, up {duration(max(0.0, now - number(info, 'started'))).lower()}",
        f"Sandboxes:  {whole(counts, 'running')} running, {whole(counts, 'all')} in all",
    ]
