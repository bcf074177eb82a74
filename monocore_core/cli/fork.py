"""``monocore fork SANDBOX``: copies of a running sandbox; their ids on standard output, a line each."""

from __future__ import annotations

from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import tables, text
from monocore_core.errors import InvalidInput


def main(words: list[str], options: Globals) -> int:
    """Run the command."""
    parser = Parser(
        "monocore fork",
        "Make copies of a running sandbox, which go on where it is, each with a name, addresses and randomness of its own."
        " What is in its memory, secrets too, is in theirs.",
    )
    parser.add_argument("sandbox", metavar="SANDBOX", help="name, id, or beginning of an id")
    parser.add_argument(
        "-n", "--copies", action=Value, parse=_count, default=1, metavar="K", help="how many (default: 1)"
    )
    parser.add_argument(
        "--name",
        default="",
        metavar="NAME",
        help="of the copy; of several NAME-1, NAME-2 … (default: their ids)",
    )
    add_globals(parser)
    parsed = parser.flags(words, options)
    body = {"count": parsed.copies, "name": parsed.name}
    made = reach(options).call("POST", target("sandboxes", parsed.sandbox, "fork"), body, timeout=None)
    for one in tables(made, "sandboxes"):
        print(text(one, "id"), flush=True)
    return 0


def _count(word: str) -> int:
    if not word.isdecimal() or not word.isascii():
        raise InvalidInput(f"{word[:40]!r} is not a number")
    return int(word)
