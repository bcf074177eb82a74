"""``monocore attach``: our descriptors to the command of a running sandbox."""

from __future__ import annotations

from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.attached import Detached, Wishes, attend
from monocore_core.cli.endings import status_of
from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import flag, inner, text


def main(words: list[str], options: Globals) -> int:
    """Run ``attach``."""
    parser = Parser(
        "monocore attach",
        "Attach to the command of a running sandbox: its output from now on, its input, its terminal. "
        "Ctrl-P Ctrl-Q in a terminal leaves, and it runs on.",
    )
    parser.add_argument("name", metavar="SANDBOX", help="name, id, or beginning of an id")
    parser.add_argument("--no-stdin", action="store_true", help="send no standard input")
    add_globals(parser)
    parsed = parser.flags(words, options)
    api = reach(options)
    sandbox = api.call("GET", target("sandboxes", parsed.name))
    command = inner(inner(sandbox, "order"), "command")
    name = text(sandbox, "name", parsed.name)
    wishes = Wishes(
        stdin=flag(command, "stdin") and not parsed.no_stdin, terminal=command.get("terminal") is not None
    )
    socket = api.websocket(
        target("sandboxes", text(sandbox, "id", parsed.name), "attach"), {"stdin": wishes.stdin}
    )
    ending = attend(socket, wishes)
    if isinstance(ending, Detached):
        warn(f"detached: 'monocore attach {name}' comes back")
    return status_of(ending, f"sandbox {name} runs on, and 'monocore attach {name}' comes back to it")
