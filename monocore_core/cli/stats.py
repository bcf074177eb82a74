"""``monocore stats``: what running sandboxes use, once, or again and again on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import columns, print_document
from monocore_core.cli.globals import Globals
from monocore_core.cli.humane import binary_size, decimal_size
from monocore_core.cli.reach import reach
from monocore_core.cli.terminal import STDOUT, is_terminal
from monocore_core.client.api import Api, target
from monocore_core.client.tables import Table, inner, number, table, text, whole

HEAD = (
    "SANDBOX ID",
    "NAME",
    "CPU %",
    "MEM USAGE / LIMIT",
    "MEM %",
    "HOST MEM",
    "NET I/O",
    "BLOCK I/O",
    "TASKS",
)
#: Seconds between two tables.
EVERY = 1.0
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_UNKNOWN = "--"


def main(words: list[str], options: Globals) -> int:
    """Run ``stats``."""
    parser = Parser("monocore stats", "Show what running sandboxes use, as their guests and the host tell.")
    parser.add_argument("names", nargs="*", metavar="SANDBOX", help="these only")
    parser.add_argument("--no-stream", action="store_true", help="once")
    parser.add_argument("--json", action="store_true", help="once, as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    api = reach(options)
    if parsed.json:
        print_document({"stats": dict(_chosen(api, parsed.names))})
        return 0
    screen = is_terminal(STDOUT) and not parsed.no_stream
    if screen:
        sys.stdout.write(_HOME + _CLEAR_BELOW)
    while True:
        rows = [row(identity, sample) for identity, sample in _chosen(api, parsed.names)]
        shown = columns(HEAD, rows)
        if screen:
            shown = _HOME + shown.replace("\n", f"{_CLEAR_LINE}\n") + _CLEAR_BELOW
        sys.stdout.write(shown)
        sys.stdout.flush()
        if parsed.no_stream:
            return 0
        time.sleep(EVERY)


def row(identity: str, sample: Table) -> tuple[str, ...]:
    """The cells of one sandbox. Pure.

    Args:
        identity: its id.
        sample: as the daemon shows it; what is not known yet is missing, or null.
    """
    host, guest, rates = inner(sample, "host"), inner(sample, "guest"), inner(sample, "rates")
    total = number(guest, "memory_total")
    used = max(0.0, total - number(guest, "memory_available"))
    return (
        identity,
        text(sample, "name"),
        f"{number(rates, 'cpu') * 100:.2f}%" if rates.get("cpu") is not None else _UNKNOWN,
        f"{binary_size(used)} / {binary_size(total)}" if guest else _UNKNOWN,
        f"{used / total * 100:.2f}%" if total else _UNKNOWN,
        binary_size(number(host, "rss")),
        _pair(guest, "network_received_bytes", "network_sent_bytes"),
        _pair(guest, "disk_read_bytes", "disk_written_bytes"),
        str(whole(guest, "tasks")) if guest else _UNKNOWN,
    )


def _pair(guest: Table, one: str, other: str) -> str:
    return f"{decimal_size(number(guest, one))} / {decimal_size(number(guest, other))}" if guest else _UNKNOWN


def _chosen(api: Api, names: Sequence[str]) -> list[tuple[str, Table]]:
    """(id, sample) of the sandboxes that are named, or of all that run.

    Raises:
        NotFound: one of the names is no sandbox's.
    """
    found = {
        identity: table(one) for identity, one in inner(api.call("GET", target("stats")), "stats").items()
    }
    if not names:
        return list(found.items())
    chosen: list[tuple[str, Table]] = []
    for name in names:
        hits = [pair for pair in found.items() if name == text(pair[1], "name") or pair[0].startswith(name)]
        if not hits:
            sandbox = api.call("GET", target("sandboxes", name))  # raises when there is none
            sample = api.call("GET", target("sandboxes", text(sandbox, "id"), "stats"))
            hits = [(text(sandbox, "id"), {**sample, "name": text(sandbox, "name")})]
        chosen += hits[:1]
    return chosen
