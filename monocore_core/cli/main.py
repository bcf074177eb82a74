"""From words to a command, and from whatever it raises to an exit status.

Exit statuses are Docker's: the command's own; 125 when monocore fails; 126 and 127 when the command cannot be run or is not there;
128 + n after signal n. Nothing heavy is imported here: ``monocore --version`` costs little more than starting Python.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from monocore_core import __version__
from monocore_core.cli.globals import Globals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROGRAM = "monocore"

#: Command to (module, or module and function; summary), in the order of the help.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("run", "run a command in a new microVM of an image"),
    "ps": ("ps", "list sandboxes"),
    "exec": ("exec", "run a further command in a running sandbox"),
    "attach": ("attach", "attach to the command of a running sandbox"),
    "logs": ("logs", "show what sandboxes, or services, wrote"),
    "stop": ("each:stop", "stop sandboxes"),
    "kill": ("each:kill", "send a signal to sandboxes"),
    "pause": ("each:pause", "stop the processors of sandboxes"),
    "unpause": ("each:resume", "let paused sandboxes run on (also: resume)"),
    "start": ("each:start", "start sandboxes again"),
    "wait": ("each:wait", "wait for sandboxes to end, and print their exit statuses"),
    "rm": ("each:remove", "remove sandboxes"),
    "cp": ("cp", "copy files to or from a sandbox"),
    "commit": ("commit", "make an image of a sandbox"),
    "fork": ("fork", "make copies of a running sandbox, which go on where it is"),
    "checkpoint": ("checkpoint", "write running sandboxes to disk, to go on from there later"),
    "inspect": ("inspect", "show everything about sandboxes, as JSON"),
    "stats": ("stats", "show what running sandboxes use"),
    "top": ("top", "show the processes in a sandbox"),
    "events": ("events", "show what happens to sandboxes"),
    "up": ("project:up", "start the services of monocore.toml, or bring them up to date"),
    "down": ("project:down", "stop the services of monocore.toml"),
    "restart": ("project:restart", "restart services"),
    "status": ("project:status", "show the services of projects"),
    "pull": ("pull", "download an image from its registry"),
    "images": ("images", "list, inspect, remove, load and save images"),
    "rmi": ("images", "remove images (short for: images rm)"),
    "volume": ("volume", "make, list, inspect and remove named volumes"),
    "network": ("network", "show what running sandboxes reach, and why"),
    "plan": ("plan", "show what would run an image, and why the others would not"),
    "plugins": ("plugins", "list the installed backends"),
    "plugin": ("plugin", "make a new plugin package"),
    "config": ("config", "check the configuration, show it resolved, print its schema"),
    "add": ("edit", "add a service to monocore.toml"),
    "remove": ("remove", "remove stopped services; 'remove service' takes one out of monocore.toml"),
    "serve": ("serve", "run the daemon that keeps sandboxes; others start it when needed"),
    "context": ("context", "name daemons elsewhere, and choose the one that commands are for"),
    "token": ("token", "make, list and revoke tokens for the daemon's TCP addresses"),
    "dashboard": ("dashboard", "show sandboxes, services and images in a browser"),
    "info": ("info", "show the daemon"),
    "doctor": ("doctor", "check what works on this host, and what to install"),
    "system": ("system", "show disk usage"),
    "version": ("version", "show the versions of monocore and of its plugins"),
}


Command = Callable[[list[str], Globals], int]


def entry() -> None:
    """The installed program."""
    gc.disable()  # until the command's modules are there: they are nothing but things that live
    _open_standard_streams()
    _leave(main(sys.argv[1:]))


def _leave(status: int) -> NoReturn:
    """End the process: without taking the interpreter apart, where that only takes time.

    What asks to be called at the end, or must come to an end, came with modules that thin commands do not import: their only threads
    are ones that an exit does not wait for, and their terminal is as it was when their ``with`` has ended.
    """
    if sys.modules.keys() & {"asyncio", "logging", "multiprocessing"}:
        sys.exit(status)
    sys.stderr.flush()  # standard output was flushed, and its loss told
    os._exit(status)


def main(words: Sequence[str]) -> int:
    """Run one command line (without the program's name) and give its exit status. Raises nothing."""
    if list(words) in (["--version"], ["-v"]):
        return _finish(_print_version)
    options = Globals()
    return _finish(lambda: _dispatch(list(words), options), options)


def _open_standard_streams() -> None:
    """Give closed standard descriptors to /dev/null, lest a file of the store takes their number and our output."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _print_version() -> int:
    print(f"{PROGRAM} {__version__}")
    return 0


def _finish(command: Callable[[], int], options: Globals | None = None) -> int:
    """The server's last line: whatever ``command`` raises becomes words and a status, and output is flushed."""
    try:
        status = command()
        sys.stdout.flush()
    except SystemExit as ended:  # argparse, after it printed a help text
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException as error:  # noqa: BLE001 - the error boundary; see failures.report
        from monocore_core.cli.failures import report

        status = report(error, debug=options is not None and options.debug)
    return _flush(status)


def _flush(status: int) -> int:
    """Flush standard output; a reader that went away is no error, and must not become one at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except OSError as error:
        print(f"{PROGRAM}: error: cannot write to standard output: {error.strerror}", file=sys.stderr)
        return status or 125
    return status


def _dispatch(words: list[str], options: Globals) -> int:
    """Take the flags before the command, import the command's module and hand over the rest."""
    chosen = (words[0], words[1:]) if words and words[0] in COMMANDS else _chosen(words, options)
    if isinstance(chosen, int):
        return chosen
    name, arguments = chosen
    module, _, function = COMMANDS[name][0].partition(":")
    run: Command = getattr(import_module(f"{__package__}.{module}"), function or "main")
    gc.enable()
    return run(["rm", *arguments] if name == "rmi" else arguments, options)


def _chosen(words: list[str], options: Globals) -> tuple[str, list[str]] | int:
    """The command and its words, after flags or under another name; or the exit status of what was done in place of one."""
    from monocore_core.cli.arguments import Parser, UsageError, add_globals, nearest, split_at_operand

    parser = Parser(PROGRAM, _help(), usage=f"{PROGRAM} [OPTIONS] COMMAND", raw=True)
    actions = [*add_globals(parser), parser.add_argument("-v", "--version", action="store_true")]
    flags, rest = split_at_operand(words, actions)
    parsed = parser.flags(flags, options)
    if parsed.version:
        return _print_version()
    if rest[:1] == ["help"]:
        rest = [*rest[1:2], "--help"] if rest[1:] else []
    if not rest:
        parser.print_help()
        return 0
    name, arguments = rest[0], rest[1:]
    if name == "resume":
        name = "unpause"
    if name not in COMMANDS:
        near = nearest(name, COMMANDS)
        raise UsageError(f"unknown command: {name}", near and f"did you mean '{near}'?", PROGRAM)
    return name, arguments


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, (_, summary) in COMMANDS.items()]
    intro = "Secure microVMs for untrusted code, from ordinary OCI images."
    return "\n".join(
        [intro, "", "Commands:", *lines, "", f"'{PROGRAM} COMMAND --help' says more of a command."]
    )
