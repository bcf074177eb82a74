"""``monocore dashboard``: a page in a browser, as long as the command runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import text
from monocore_core.errors import InvalidInput


def main(words: list[str], options: Globals) -> int:
    """Run ``dashboard``: until interrupted, or until the daemon ends."""
    parser = Parser(
        "monocore dashboard",
        "Show sandboxes, services, images and denied connections in a browser, with logs and terminals, until interrupted. "
        "The daemon listens on the loopback meanwhile; the address has a code that is good for one browser.",
    )
    parser.add_argument(
        "--port",
        action=Value,
        parse=_port,
        default=0,
        metavar="PORT",
        help="listen on this one (default: any)",
    )
    parser.add_argument("--no-open", action="store_true", help="only print the address; open no browser")
    add_globals(parser)
    parsed = parser.flags(words, options)
    for line in reach(options).tables("POST", target("dashboard"), {"port": parsed.port}):
        address = f"{text(line, 'url')}#code={text(line, 'code')}"
        print(address, flush=True)
        opened = not parsed.no_open and _open(address)
        where = "It is open in your browser" if opened else "Open it in one browser"
        print(f"{where}; it ends with this command (Ctrl-C).", file=sys.stderr)
    return 0


def _open(address: str) -> bool:
    """Show it on this screen, where there is one."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    program = shutil.which("xdg-open")
    if not screen or program is None:
        return False
    nowhere = subprocess.DEVNULL
    try:
        subprocess.Popen(
            [program, address], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
    except OSError:
        return False
    return True


def _port(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 5 and int(word) < 65536):
        raise InvalidInput(
            f"{word[:40]!r} is not a port", hint="a number up to 65535; 0 takes any that is free"
        )
    return int(word)
