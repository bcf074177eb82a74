"""``stop``, ``kill``, ``pause``, ``unpause``, ``start``, ``wait`` and ``rm``: the same for each sandbox that is named, whose names are echoed."""

from __future__ import annotations

from collections.abc import Callable

from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.failures import for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.grace import parse_grace
from monocore_core.cli.reach import reach
from monocore_core.client.api import Api, target
from monocore_core.client.tables import whole
from monocore_core.errors import NotFound


def stop(words: list[str], options: Globals) -> int:
    """Run ``stop``."""
    parser = _parser("stop", "Stop sandboxes: their stop signal, and after some time by force.")
    parser.add_argument(
        "-t",
        "--time",
        action=Value,
        parse=parse_grace,
        metavar="SECONDS",
        help="until force (default: as they were started with, else 10; 0: at once)",
    )
    parsed = parser.flags(words, options)
    body = {} if parsed.time is None else {"grace": parsed.time}

    def one(api: Api, name: str) -> None:
        api.call("POST", target("sandboxes", name, "stop"), body, timeout=None)
        print(name, flush=True)

    return _each(parsed.names, options, one)


def kill(words: list[str], options: Globals) -> int:
    """Run ``kill``."""
    parser = _parser("kill", "Send a signal to the command of sandboxes. KILL ends them, whatever they do.")
    parser.add_argument(
        "-s", "--signal", default="KILL", metavar="SIGNAL", help="by name or number (default: KILL)"
    )
    parsed = parser.flags(words, options)

    def one(api: Api, name: str) -> None:
        api.call("POST", target("sandboxes", name, "kill"), {"signal": parsed.signal})
        print(name, flush=True)

    return _each(parsed.names, options, one)


def pause(words: list[str], options: Globals) -> int:
    """Run ``pause``."""
    return _post("pause", "Stop the processors of sandboxes; they keep their memory.", words, options)


def resume(words: list[str], options: Globals) -> int:
    """Run ``unpause``."""
    return _post("unpause", "Let paused sandboxes run on.", words, options, request="resume")


def _post(name: str, description: str, words: list[str], options: Globals, request: str = "") -> int:
    parsed = _parser(name, description).flags(words, options)

    def one(api: Api, sandbox: str) -> None:
        api.call("POST", target("sandboxes", sandbox, request or name), {})
        print(sandbox, flush=True)

    return _each(parsed.names, options, one)


def start(words: list[str], options: Globals) -> int:
    """Run ``start``."""
    parser = _parser("start", "Start sandboxes that were created, or have ended.")
    parser.add_argument(
        "--checkpoint", default="", metavar="NAME", help="go on where this checkpoint of it was made"
    )
    parsed = parser.flags(words, options)
    body = {"checkpoint": parsed.checkpoint} if parsed.checkpoint else {}

    def one(api: Api, name: str) -> None:
        api.call("POST", target("sandboxes", name, "start"), body, timeout=None)
        print(name, flush=True)

    return _each(parsed.names, options, one)


def wait(words: list[str], options: Globals) -> int:
    """Run ``wait``."""
    parser = _parser("wait", "Wait until sandboxes have ended, and print their exit statuses.")
    parsed = parser.flags(words, options)

    def one(api: Api, name: str) -> None:
        print(
            whole(api.call("POST", target("sandboxes", name, "wait"), {}, timeout=None), "code"), flush=True
        )

    return _each(parsed.names, options, one)


def remove(words: list[str], options: Globals) -> int:
    """Run ``rm``."""
    parser = _parser("rm", "Remove sandboxes that do not run, with their logs and writable disks.")
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="end those that run before; those that are not there are no error",
    )
    parser.add_argument(
        "-v", "--volumes", action="store_true", help="accepted for habit: folders of its own always go"
    )
    parsed = parser.flags(words, options)

    def one(api: Api, name: str) -> None:
        try:
            api.call("DELETE", target("sandboxes", name, force=parsed.force), timeout=None)
        except NotFound:
            if not parsed.force:
                raise
            return
        print(name, flush=True)

    return _each(parsed.names, options, one)


def _parser(name: str, description: str) -> Parser:
    parser = Parser(f"monocore {name}", description)
    parser.add_argument("names", nargs="+", metavar="SANDBOX", help="name, id, or beginning of an id")
    add_globals(parser)
    return parser


def _each(names: list[str], options: Globals, one: Callable[[Api, str], None]) -> int:
    api = reach(options)
    return for_each(names, lambda name: one(api, name), debug=options.debug)
