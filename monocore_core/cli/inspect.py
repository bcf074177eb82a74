"""``monocore inspect``: everything about sandboxes, as JSON."""

from __future__ import annotations

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_document
from monocore_core.cli.failures import for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import Table


def main(words: list[str], options: Globals) -> int:
    """Run ``inspect``."""
    parser = Parser("monocore inspect", "Show everything about sandboxes, as a JSON list.")
    parser.add_argument("names", nargs="+", metavar="SANDBOX", help="name, id, or beginning of an id")
    add_globals(parser)
    parsed = parser.flags(words, options)
    api = reach(options)
    found: list[Table] = []
    status = for_each(
        parsed.names,
        lambda name: found.append(api.call("GET", target("sandboxes", name))),
        debug=options.debug,
    )
    print_document(found)
    return status
