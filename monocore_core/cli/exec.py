"""``monocore exec``: a further command in a running sandbox, or in a service's."""

from __future__ import annotations

import argparse
import os

from monocore_core.cli.arguments import Parser, UsageError, add_globals, split_at_operand
from monocore_core.cli.globals import Globals
from monocore_core.cli.naming import named
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import Table

PROG = "monocore exec"
USAGE = "monocore exec [OPTIONS] SANDBOX COMMAND [ARG...]"


def main(words: list[str], options: Globals) -> int:
    """Run ``exec``."""
    parser, actions = _parser()
    flags, operands = split_at_operand(words, actions)
    parsed = parser.flags(flags, options)
    if len(operands) < 2:
        raise UsageError("a sandbox and a command are needed", f"{USAGE}.", PROG)
    if parsed.interactive and parsed.tty:
        from monocore_core.cli.terminal import need_terminal

        need_terminal()
    name, *args = operands
    command = _command(parsed, args)
    api = reach(options)
    name = named(api, name, parsed.file, options)
    socket = api.websocket(target("sandboxes", name, "exec"), {"command": command})
    from monocore_core.cli.attached import Wishes, attend  # while the daemon is at work
    from monocore_core.cli.endings import status_of

    wishes = Wishes(stdin=parsed.interactive, terminal=parsed.tty, leave=parsed.detach)
    return status_of(attend(socket, wishes), "the command is ended, its sandbox runs on")


def _command(parsed: argparse.Namespace, args: list[str]) -> Table:
    """A ``CommandRequest``, plain; the image's entrypoint is no part of it."""
    return {
        "args": args,
        "entrypoint": [],
        "env": _environment(parsed),
        "cwd": parsed.workdir or "",
        "user": parsed.user or "",
        "terminal": _terminal() if parsed.tty else None,
        "stdin": parsed.interactive and not parsed.detach,
    }


def _terminal() -> Table:
    from monocore_core.cli.terminal import table_of_size

    return table_of_size()


def _environment(parsed: argparse.Namespace) -> list[str]:
    """Files first, so that flags win over them."""
    if not parsed.env and not parsed.env_file:
        return []
    from monocore_core.cli import values

    found = [line for name in parsed.env_file for line in values.read_env_file(name, os.environ)]
    expanded = (values.expand_env(word, os.environ) for word in parsed.env)
    return [*found, *(one for one in expanded if one is not None)]


def _parser() -> tuple[Parser, list[argparse.Action]]:
    parser = Parser(PROG, "Run a further command in a running sandbox, or in a service's.", usage=USAGE)
    add = parser.add_argument
    return parser, [
        add("-i", "--interactive", action="store_true", help="send standard input to the command"),
        add("-t", "--tty", action="store_true", help="give the command a terminal"),
        add("-d", "--detach", action="store_true", help="do not wait for it"),
        add(
            "-e",
            "--env",
            action="append",
            default=[],
            metavar="NAME[=VALUE]",
            help="set a variable, or pass it on",
        ),
        add("--env-file", action="append", default=[], metavar="FILE", help="set the variables of a file"),
        add("-u", "--user", metavar="USER[:GROUP]", help="by name in the image, or number"),
        add("-w", "--workdir", metavar="DIR", help="working directory"),
        add(
            "-f",
            "--file",
            metavar="FILE",
            help="SANDBOX is a service of this file (default: ./monocore.toml)",
        ),
        *add_globals(parser),
    ]
