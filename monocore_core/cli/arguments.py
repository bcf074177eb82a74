"""argparse as we use it: flags that every command shares, errors as values, and operands that end the flags."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from monocore_core.cli.globals import Globals
from monocore_core.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


#: argparse would look for translations of its words, of which there are none; that takes as long as everything else it does.
argparse.__dict__["_"] = str


class UsageError(InvalidInput):
    """The words of a command line make no sense."""

    code = "usage"

    def __init__(self, brief: str, hint: str | None, prog: str) -> None:
        see = f"'{prog} --help' lists what there is"
        super().__init__(brief, hint=f"{hint} {see}" if hint else see)


#: Of argparse.
_CHOICE = re.compile(r"invalid choice: (\S+) \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """Raises :class:`UsageError` instead of exiting, refuses abbreviations, and knows the flags of every command."""

    def __init__(self, prog: str, description: str, *, usage: str | None = None, raw: bool = False) -> None:
        super().__init__(
            prog, usage, description, formatter_class=_RawHelp if raw else _Help, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        if message.startswith("argument "):
            flag, _, text = message.removeprefix("argument ").partition(": ")
            message = f"{flag}: {text}"
        message = _CHOICE.sub(r"\1 is none of \2", message)
        raise UsageError(
            message.replace("the following arguments are required:", "missing argument:"), None, self.prog
        )

    def flags(self, words: Sequence[str], options: Globals) -> argparse.Namespace:
        """Parse words that hold flags, and operands where some were declared; the shared flags go to ``options``."""
        parsed, unknown = self.parse_known_args(words)
        if unknown:
            word = unknown[0].partition("=")[0]
            if not word.startswith("-") or word in ("-", "--"):
                raise UsageError(f"unexpected word: {word}", None, self.prog)
            near = nearest(word, _option_strings(self.format_help())) if word.startswith("--") else ""
            raise UsageError(f"unknown flag: {word}", near and f"did you mean {near}?", self.prog)
        options.debug = options.debug or parsed.debug
        for name in ("home", "config", "host", "context", "token_file"):
            if (value := getattr(parsed, name)) is not None:
                setattr(options, name, value)
        return parsed


class Value(argparse.Action):
    """Stores ``parse(word)``, or collects several. A refusal names the flag.

    Used as ``add_argument("-m", action=Value, parse=parse_size)``.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        parse: Callable[[str], object],
        repeat: bool = False,
        default: object = None,
        metavar: str | None = None,
        help: str | None = None,  # noqa: A002 - argparse calls it so
    ) -> None:
        super().__init__(option_strings, dest, default=() if repeat else default, metavar=metavar, help=help)
        self.parse = parse
        self.repeat = repeat

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Called by argparse with one word."""
        try:
            value = self.parse(str(values))
        except InvalidInput as error:
            raise InvalidInput(f"{option_string}: {error.brief}", hint=error.hint) from error
        if self.repeat:
            value = (*getattr(namespace, self.dest), value)
        setattr(namespace, self.dest, value)


class _Help(argparse.HelpFormatter):
    """``-m, --memory SIZE`` rather than ``-m SIZE, --memory SIZE``."""

    def __init__(self, prog: str) -> None:
        # argparse makes one for every flag that is declared, and asks shutil for the width, whose import takes milliseconds
        super().__init__(prog, max_help_position=32, width=_width() - 2)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, action.dest.upper())}"


def _width() -> int:
    """Columns of the screen, as ``shutil.get_terminal_size`` finds them."""
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named) > 0:
        return int(named)
    try:
        return (
            os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ is not None else 1).columns or 80
        )
    except (OSError, ValueError):
        return 80


class _RawHelp(_Help, argparse.RawDescriptionHelpFormatter):
    pass


def add_globals(parser: Parser) -> list[argparse.Action]:
    """Declare the flags of :class:`~monocore_core.cli.globals.Globals`."""
    group = parser.add_argument_group("common options")
    return [
        group.add_argument("--debug", action="store_true", help="show tracebacks"),
        group.add_argument(
            "--home", metavar="DIR", help="folder of the store (default: ~/.monocore, $MONOCORE_HOME)"
        ),
        group.add_argument(
            "--config", metavar="FILE", help="configuration file (default: monocore.toml, if any)"
        ),
        group.add_argument(
            "-H", "--host", metavar="URL", help="a daemon elsewhere, as https://host:3456 ($MONOCORE_HOST)"
        ),
        group.add_argument(
            "--context",
            metavar="NAME",
            help="a daemon elsewhere, by name; 'default' is this host's ($MONOCORE_CONTEXT, 'context use')",
        ),
        group.add_argument(
            "--token-file",
            metavar="FILE",
            help="that has the token for it, '-' is standard input ($MONOCORE_TOKEN_FILE, $MONOCORE_TOKEN)",
        ),
    ]


def add_backends(parser: Parser) -> list[argparse.Action]:
    """Declare the flags that choose backends; :func:`backend_overrides` reads them."""
    from monocore_core.cli.values import parse_setting

    group = parser.add_argument_group("backends", "each is 'auto' by default; 'monocore plugins' lists them")
    return [
        group.add_argument("--vmm", metavar="NAME", help="virtual machine monitor"),
        group.add_argument("--merger", metavar="NAME", help="layer merger"),
        group.add_argument("--image-source", metavar="NAME", help="where images come from"),
        group.add_argument("--network", metavar="NAME", help="network"),
        group.add_argument(
            "--set",
            action=Value,
            parse=parse_setting,
            repeat=True,
            dest="settings",
            metavar="KEY=VALUE",
            help="any setting of monocore.toml, e.g. plugins.vmm_qemu.accel=tcg",
        ),
    ]


def backend_overrides(parsed: argparse.Namespace) -> dict[str, str]:
    """What :func:`add_backends` declared, as dotted settings."""
    named = {
        "backends.vmm": parsed.vmm,
        "backends.layer_merger": parsed.merger,
        "backends.image_source": parsed.image_source,
        "backends.network": parsed.network,
    }
    return {key: str(name) for key, name in named.items() if name is not None} | dict(parsed.settings)


def split_at_operand(words: Sequence[str], actions: Iterable[argparse.Action]) -> tuple[list[str], list[str]]:
    """Flags with their values, and everything from the first operand on, as Docker reads ``run [OPTIONS] IMAGE …``.

    A first ``--`` ends the flags and is dropped.
    """
    valued = {string for action in actions if action.nargs != 0 for string in action.option_strings}
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            return list(words[:index]), list(words[index + 1 :])
        if not word.startswith("-") or word == "-":
            break
        index += 2 if _takes_next(word, valued) else 1
    return list(words[:index]), list(words[index:])


def _takes_next(word: str, valued: set[str]) -> bool:
    """Whether a flag's value is the next word: not in ``--flag=value``, ``-fvalue``; but in ``-abf value``."""
    if word.startswith("--"):
        return word in valued
    for position, letter in enumerate(word[1:], start=1):
        if f"-{letter}" in valued:
            return position == len(word) - 1
    return False


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or "": the only one that begins so, or else the most alike."""
    import difflib  # takes longer than most words to be right

    bare = {one.lstrip("-"): one for one in known}  # dashes are alike always
    word = word.lstrip("-")
    beginning = [one for one in bare if one.startswith(word)] if len(word) > 1 else []
    found = beginning if len(beginning) == 1 else difflib.get_close_matches(word, bare, 1, 0.6)
    return bare[found[0]] if found else ""


def _option_strings(help_text: str) -> set[str]:
    words = help_text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    return {word for word in words if word.startswith("--")}
