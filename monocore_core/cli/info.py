"""``monocore info``: the daemon."""

from __future__ import annotations

import time

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_document
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.humane import binary_size, duration
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import Table, flag, inner, number, tables, text, texts, whole


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
        *_pool(inner(info, "pool")),
    ]


def _pool(pool: Table) -> list[str]:
    """The machines that are kept ready, a line for each shape, and for each image in it."""
    size = whole(pool, "size")
    if not size:
        return []
    shapes = tables(pool, "shapes")
    if not shapes:
        return [f"Pool:       {size} of each image that is started; none waits now"]
    found: list[str] = []
    for shape in shapes:
        parts = [f"{whole(shape, 'ready')} of {whole(shape, 'wanted')} ready"]
        parts.append("for one image" if flag(shape, "settled") else "for any image")
        parts.append(f"{whole(shape, 'vcpus')} CPUs, {binary_size(whole(shape, 'memory'))}")
        parts.append("disks " + "+".join(map(clean, texts(shape, "disks"))))
        parts.append(f"take {binary_size(whole(shape, 'bytes'))}")
        reason = text(shape, "reason")
        found.append(", ".join(parts) + (f" ({clean(reason)})" if reason else ""))
    return [f"{'' if number else 'Pool:':<12}{line}" for number, line in enumerate(found)]
