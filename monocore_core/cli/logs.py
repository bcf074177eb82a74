"""``monocore logs``: what sandboxes, or services, wrote."""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Callable

from monocore_core.cli.arguments import Parser, UsageError, Value, add_globals
from monocore_core.cli.descriptors import OutputClosed, write_all
from monocore_core.cli.failures import for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.naming import instances, instances_of, services_of
from monocore_core.cli.reach import reach
from monocore_core.cli.terminal import STDERR, STDOUT
from monocore_core.cli.times import parse_time
from monocore_core.client.api import Api, target
from monocore_core.client.tables import Table, flag, parse_table, text
from monocore_core.errors import InvalidInput

PROG = "monocore logs"


def main(words: list[str], options: Globals) -> int:
    """Run ``logs``."""
    parsed = _parser().flags(words, options)
    if not parsed.names and parsed.file is None:
        raise UsageError("a sandbox is needed", "or name the services' file: --file FILE.", PROG)
    api = reach(options)
    if parsed.names:
        found = [one for name in parsed.names for one in instances(api, name, parsed.file, options)]
    else:
        found = instances_of(api, parsed.file, services_of(parsed.file))
    ids = dict(found)
    show = _shower(parsed, max(map(len, ids), default=0) if len(ids) > 1 else 0)
    try:
        if parsed.follow and len(ids) > 1:
            return _follow_all(api, ids, parsed, show)
        return for_each(
            list(ids), lambda name: _show(api, name, ids[name], parsed, show), debug=options.debug
        )
    except OutputClosed as error:
        raise BrokenPipeError from error


def render(line: Table, *, timestamps: bool, prefix: str = "") -> bytes:
    """One line as it was written, behind its prefix and its time. Pure."""
    data = base64.b64decode(text(line, "base64")) if "base64" in line else text(line, "log").encode()
    before = f"{prefix}{text(line, 'time')} " if timestamps else prefix
    return before.encode() + data + (b"" if flag(line, "partial") and not before else b"\n")


def _parser() -> Parser:
    parser = Parser(
        PROG,
        "Show what sandboxes wrote, standard output and standard error apart. Services are known by their names, too: "
        "all of their sandboxes, each line behind its sandbox's name.",
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="SANDBOX", help="name, id, or beginning of an id; or a service of --file")
    add("-f", "--follow", action="store_true", help="go on as it writes, until it ends")
    add("-n", "--tail", action=Value, parse=_tail, metavar="N", help="only the last N lines (or 'all')")
    add(
        "--since",
        action=Value,
        parse=_time,
        metavar="TIME",
        help="RFC 3339, seconds since the epoch, or 10m: so long ago",
    )
    add("--until", action=Value, parse=_time, metavar="TIME", help="likewise")
    add("-t", "--timestamps", action="store_true", help="the time of each line before it")
    add("--json", action="store_true", help="a JSON object for each line")
    add("--file", metavar="FILE", help="of services: monocore.toml; without names all of them")
    add_globals(parser)
    return parser


def _tail(word: str) -> int | None:
    if word == "all":
        return None
    if not word.isdecimal() or len(word) > 9:
        raise InvalidInput(f"{word[:40]!r} is not a number of lines", hint="for example 100, or all")
    return int(word)


def _time(word: str) -> float:
    return parse_time(word, time.time())


Shower = Callable[[str, bytes], None]


def _shower(parsed: argparse.Namespace, width: int) -> Shower:
    """What writes one line of NDJSON of the sandbox of a name, to where it was written."""

    def show(name: str, line: bytes) -> None:
        prefix = f"{name.ljust(width)} | " if width else ""
        if parsed.json:
            write_all(STDOUT, line + b"\n")
            return
        table = parse_table(line)
        fd = STDERR if text(table, "stream") == "stderr" else STDOUT
        write_all(fd, render(table, timestamps=parsed.timestamps, prefix=prefix))

    return show


def _show(api: Api, name: str, identity: str, parsed: argparse.Namespace, show: Shower) -> None:
    where = target(
        "sandboxes",
        identity,
        "logs",
        format="json",
        follow=parsed.follow,
        tail=parsed.tail,
        since=parsed.since,
        until=parsed.until,
    )
    sys.stdout.flush()
    with api.open("GET", where) as answer:
        for line in answer.lines():
            show(name, line)


def _follow_all(api: Api, ids: dict[str, str], parsed: argparse.Namespace, show: Shower) -> int:
    """Several at once, a thread each; whole lines, as they come."""
    import threading

    lock = threading.Lock()
    failed: list[BaseException] = []

    def shown(name: str, line: bytes) -> None:
        with lock:
            show(name, line)

    def work(name: str, identity: str) -> None:
        try:
            _show(api, name, identity, parsed, shown)
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in ids.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return 0
