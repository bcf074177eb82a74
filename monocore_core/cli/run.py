"""``monocore run [OPTIONS] IMAGE [COMMAND…]``: the words, and what they ask for. :mod:`.running` has the daemon do it, :mod:`.attend` does it here.

Flags end at the image: what follows belongs to the command, as in ``docker run``. Nothing of the model is imported for flags that are not
given: the daemon makes values of the words.
"""

from __future__ import annotations

import argparse
import os

from monocore_core.cli import values
from monocore_core.cli.arguments import (
    Parser,
    UsageError,
    Value,
    add_backends,
    add_globals,
    backend_overrides,
    split_at_operand,
)
from monocore_core.cli.globals import Globals
from monocore_core.cli.lasting import Lasting, add_lasting, lasting_of
from monocore_core.cli.later import later
from monocore_core.cli.networks import add_network
from monocore_core.cli.reach import remote_of, without_daemon
from monocore_core.errors import ConfigError, InvalidInput

PROG = "monocore run"
USAGE = "monocore run [OPTIONS] IMAGE [COMMAND] [ARG...]"
#: Virtual processors, and bytes of RAM, unless a flag says otherwise: what a :class:`~monocore_core.model.sandbox.SandboxRequest` has.
VCPUS, MEMORY = 1, 512 * 1024 * 1024
_PARTS = "monocore_core.cli.parts"


def main(words: list[str], options: Globals) -> int:
    """Run the command and give its exit status."""
    parser, actions = build_parser()
    flags, operands = split_at_operand(words, actions)
    parsed = parser.flags(flags, options)
    if not operands:
        raise UsageError("no image is given", f"{USAGE}.", PROG)
    if parsed.interactive and parsed.tty and not parsed.detach:
        from monocore_core.cli.terminal import need_terminal

        need_terminal()
    remote = remote_of(options)
    if remote is not None:
        from monocore_core.cli.elsewhere import refuse_local_run

        refuse_local_run(parsed, operands[0], remote)
    if remote is not None or not (parsed.no_daemon or without_daemon()):
        return _by_daemon(parsed, operands, options)
    _refuse_lasting(lasting_of(parsed))
    from monocore_core.cli.attend import run_order
    from monocore_core.cli.ordering import order_of
    from monocore_core.cli.settings import settings_for

    order = order_of(parsed, operands, os.environ)
    return run_order(order, settings_for(options, backend_overrides(parsed)))


def _by_daemon(parsed: argparse.Namespace, operands: list[str], options: Globals) -> int:
    """Have the daemon do it. What it refuses in the words of its order is refused in those of the flags, where they say it.

    Raises:
        MonocoreError: as the daemon says.
    """
    from monocore_core.cli.asking import asked_of
    from monocore_core.cli.running import run_by_daemon

    try:
        return run_by_daemon(asked_of(parsed, operands, os.environ), options, backend_overrides(parsed))
    except ConfigError:
        from monocore_core.cli.ordering import order_of

        order_of(parsed, operands, os.environ)
        raise


def _refuse_lasting(lasting: Lasting) -> None:
    """Raises InvalidInput: what is asked only the daemon can do."""
    flag = "-d" if lasting.detach else "--idle-timeout" if lasting.idle_timeout else ""
    if flag:
        raise InvalidInput(
            f"{flag} needs the daemon", hint="leave out --no-daemon, and unset MONOCORE_DAEMON"
        )


def build_parser() -> tuple[Parser, list[argparse.Action]]:
    """The parser of the flags, and all its actions."""
    parser = Parser(PROG, "Run a command in a new microVM of an image.", usage=USAGE)
    return parser, [
        *_process_flags(parser),
        *_machine_flags(parser),
        *add_lasting(parser),
        *add_network(parser),
        *_image_flags(parser),
        *add_backends(parser),
        *add_globals(parser),
    ]


def _process_flags(parser: Parser) -> list[argparse.Action]:
    group = parser.add_argument_group("the command")
    add = group.add_argument
    return [
        add("-i", "--interactive", action="store_true", help="send standard input to the command"),
        add("-t", "--tty", action="store_true", help="give the command a terminal"),
        add(
            "-e",
            "--env",
            action="append",
            default=[],
            metavar="NAME[=VALUE]",
            help="set a variable, or pass it on",
        ),
        add("--env-file", action="append", default=[], metavar="FILE", help="set the variables of a file"),
        add(
            "-w",
            "--workdir",
            action=Value,
            parse=values.parse_workdir,
            metavar="DIR",
            help="working directory",
        ),
        add("-u", "--user", metavar="USER[:GROUP]", help="by name in the image, or number"),
        add("--entrypoint", metavar="COMMAND", help="replace the image's entrypoint ('' for none)"),
        add(
            "--ulimit",
            action=Value,
            parse=later(_PARTS, "parse_ulimit"),
            repeat=True,
            metavar="NAME=SOFT[:HARD]",
            help="resource limit",
        ),
        add(
            "--timeout",
            action=Value,
            parse=values.parse_duration,
            metavar="DURATION",
            help="end the command after so long (seconds, or 90s, 5m, 1h), and exit with 124",
        ),
        add("--timing", action="store_true", help="print how long each stage took on standard error"),
    ]


def _machine_flags(parser: Parser) -> list[argparse.Action]:
    group = parser.add_argument_group("the machine")
    add = group.add_argument
    size = values.parse_size
    return [
        add("--name", metavar="NAME", help="of the sandbox"),
        add("--hostname", metavar="NAME", help="of the guest (default: the sandbox's id)"),
        add(
            "--cpus",
            action=Value,
            parse=values.parse_vcpus,
            default=VCPUS,
            metavar="N",
            help=f"virtual CPUs (default: {VCPUS})",
        ),
        add(
            "-m",
            "--memory",
            action=Value,
            parse=size,
            default=MEMORY,
            metavar="SIZE",
            help=f"RAM (default: {MEMORY // 2**20}m)",
        ),
        add(
            "--disk",
            action=Value,
            parse=size,
            metavar="SIZE",
            help="keep writes on a disk of this size, not in RAM",
        ),
        add("--read-only", action="store_true", help="no writes to the image's file system"),
        add(
            "--tmpfs",
            action=Value,
            parse=later(_PARTS, "parse_tmpfs"),
            repeat=True,
            metavar="PATH[:size=SIZE]",
            help="mount a tmpfs",
        ),
        add(
            "-v",
            "--volume",
            action=Value,
            parse=later(_PARTS, "parse_volume"),
            repeat=True,
            metavar="[SOURCE:]PATH[:ro]",
            help="mount a folder or file of the host, a named volume, or an empty folder",
        ),
        add(
            "--mount",
            action=Value,
            parse=later(_PARTS, "parse_mount"),
            repeat=True,
            metavar="type=TYPE,...",
            help="mount as in Docker: type=bind|volume|tmpfs,source=SOURCE,target=PATH[,readonly]",
        ),
    ]


def _image_flags(parser: Parser) -> list[argparse.Action]:
    group = parser.add_argument_group("the image")
    add = group.add_argument
    return [
        add(
            "--pull",
            action=Value,
            parse=values.parse_pull,
            default="missing",
            metavar="WHEN",
            help="always, missing (default) or never",
        ),
        add(
            "--platform",
            action=Value,
            parse=later(_PARTS, "parse_platform"),
            metavar="OS/ARCH",
            help="of the image",
        ),
        add("-q", "--quiet", action="store_true", help="no progress of a pull"),
    ]
