"""``monocore top``: the processes in a sandbox."""

from __future__ import annotations

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_columns, print_document
from monocore_core.cli.globals import Globals
from monocore_core.cli.humane import binary_size
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import Table, number, tables, text, whole

HEAD = ("PID", "USER", "TIME", "RSS", "COMMAND")


def main(words: list[str], options: Globals) -> int:
    """Run ``top``."""
    parser = Parser("monocore top", "Show the processes in a sandbox, as its guest tells of them.")
    parser.add_argument("name", metavar="SANDBOX", help="name, id, or beginning of an id")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    found = reach(options).call("GET", target("sandboxes", parsed.name, "top"))
    if parsed.json:
        print_document(found)
        return 0
    print_columns(HEAD, [row(one) for one in tables(found, "processes")])
    return 0


def row(process: Table) -> tuple[str, ...]:
    """The cells of one process. Pure."""
    seconds = number(process, "cpu_seconds")
    hours, rest = divmod(int(seconds), 3600)
    return (
        str(whole(process, "pid")),
        text(process, "user"),
        f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}",
        binary_size(number(process, "rss")),
        text(process, "command"),
    )
