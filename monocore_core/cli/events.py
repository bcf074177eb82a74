"""``monocore events``: what happens to sandboxes."""

from __future__ import annotations

import time

from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.columns import print_line
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.cli.times import local, parse_time
from monocore_core.client.api import target
from monocore_core.client.tables import Table, inner, number, text


def _since(word: str) -> float:
    return parse_time(word, time.time())


def main(words: list[str], options: Globals) -> int:
    """Run ``events``: those that happen from now on, until interrupted; with ``--since``, those that are still known, too."""
    parser = Parser(
        "monocore events",
        "Show what happens to sandboxes, as it happens. The daemon keeps the latest 4096 since its start.",
    )
    parser.add_argument(
        "--since",
        action=Value,
        parse=_since,
        metavar="TIME",
        help="also what happened since: RFC 3339, seconds since the epoch, or 10m: so long ago",
    )
    parser.add_argument("--no-follow", action="store_true", help="only what has happened")
    parser.add_argument("--json", action="store_true", help="a JSON object for each")
    add_globals(parser)
    parsed = parser.flags(words, options)
    after = 0 if parsed.since is not None or parsed.no_follow else None
    for event in reach(options).tables("GET", target("events", after=after, follow=not parsed.no_follow)):
        if number(event, "time") < (parsed.since or 0.0):
            continue
        if parsed.json:
            print_line(event)
        else:
            print(line(event), flush=True)
    return 0


def line(event: Table) -> str:
    """One event for a person, in Docker's shape: time, kind, id, and (what more is known)."""
    facts = {"name": text(event, "name"), **inner(event, "facts")}
    more = ", ".join(
        f"{name}={_plain(value)}" for name, value in facts.items() if value not in ("", None, {}, [])
    )
    return clean(
        f"{local(number(event, 'time'))} sandbox {text(event, 'kind')} {text(event, 'sandbox')} ({more})"
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_plain(one)}" for name, one in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    return f"{value:.3f}" if isinstance(value, float) else str(value)
