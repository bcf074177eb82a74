"""``monocore checkpoint``: make, list and remove checkpoints of sandboxes. ``monocore start --checkpoint NAME`` goes on from one."""

from __future__ import annotations

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_document
from monocore_core.cli.failures import clean, for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.cli.render import human_age, human_size, print_table
from monocore_core.client.api import target
from monocore_core.client.tables import number, tables, text, whole


def main(words: list[str], options: Globals) -> int:
    """Run ``checkpoint [ls|create|rm] …``."""
    actions = {"ls": _list, "list": _list, "create": _create, "rm": _remove, "remove": _remove}
    return act("checkpoint", actions, words, options)


def _list(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore checkpoint",
        "List the checkpoints of a sandbox. Also: checkpoint create SANDBOX NAME, checkpoint rm SANDBOX NAME….",
    )
    _sandbox(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="names only")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    answer = reach(options).call("GET", target("sandboxes", parsed.sandbox, "checkpoints"))
    found = list(tables(answer, "checkpoints"))
    if parsed.json:
        print_document(found)
    elif parsed.quiet:
        for one in found:
            print(clean(text(one, "name")))
    else:
        rows = [
            (text(one, "name"), human_age(number(one, "created")), human_size(whole(one, "size")))
            for one in found
        ]
        print_table(("CHECKPOINT", "CREATED", "SIZE"), rows)
    return 0


def _create(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore checkpoint create",
        "Write a running sandbox to disk, memory and writable disk, and end it. Start it again from there with:"
        " monocore start --checkpoint NAME SANDBOX. Its memory, secrets too, is in the checkpoint.",
    )
    _sandbox(parser)
    parser.add_argument("name", metavar="NAME", help="of the checkpoint")
    parser.add_argument("--leave-running", action="store_true", help="do not end the sandbox")
    add_globals(parser)
    parsed = parser.flags(words, options)
    body = {"name": parsed.name, "leave_running": parsed.leave_running}
    made = reach(options).call("POST", target("sandboxes", parsed.sandbox, "checkpoints"), body, timeout=None)
    print(clean(text(made, "name")), flush=True)
    return 0


def _remove(words: list[str], options: Globals) -> int:
    parser = Parser("monocore checkpoint rm", "Remove checkpoints of a sandbox.")
    _sandbox(parser)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the checkpoint")
    add_globals(parser)
    parsed = parser.flags(words, options)
    api = reach(options)

    def remove(name: str) -> None:
        api.call("DELETE", target("sandboxes", parsed.sandbox, "checkpoints", name), timeout=None)
        print(clean(name), flush=True)

    return for_each(parsed.names, remove, debug=options.debug)


def _sandbox(parser: Parser) -> None:
    parser.add_argument("sandbox", metavar="SANDBOX", help="name, id, or beginning of an id")
