"""What a process in a sandbox runs, and with which environment: Docker's rules for an image's configuration and a user's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from monocore_core.errors import InvalidInput
from monocore_core.model.oci import ImageConfig

#: Where commands are looked for when the image does not say (Docker's own default).
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: TERM of a process with a terminal, when nobody says.
DEFAULT_TERM = "xterm"

_SPACE = re.compile(r"\s")
_BOM = "\ufeff"


def command_of(
    config: ImageConfig, entrypoint: tuple[str, ...] | None, command: tuple[str, ...]
) -> tuple[str, ...]:
    """The words to run.

    Args:
        config: the image's ENTRYPOINT and CMD.
        entrypoint: replaces the image's, and then its CMD does not count; empty, or one empty word, for none at all.
        command: replaces the image's CMD when not empty.

    Raises:
        InvalidInput: nothing is left to run, or a word cannot be passed to a process.
    """
    if entrypoint is not None:
        words = _entrypoint(entrypoint) + command
    else:
        words = _entrypoint(config.entrypoint or ()) + (command or config.cmd or ())
    if not words:
        images = (
            "the image names none"
            if entrypoint is None
            else "with an entrypoint given the image's does not count"
        )
        raise InvalidInput(
            f"there is no command to run: none was given, and {images}",
            hint="write the command after the image, for example: monocore run IMAGE /bin/sh",
        )
    if not words[0]:
        raise InvalidInput("the command to run is an empty word", hint="write a program after the image")
    for word in words:
        if "\0" in word:
            raise InvalidInput(f"the command's word {word[:80]!r} has a NUL character in it")
    return words


def _entrypoint(words: tuple[str, ...]) -> tuple[str, ...]:
    return () if words == ("",) else words


def environment_of(
    config: ImageConfig, overrides: tuple[str, ...], terminal: bool, lookup: Mapping[str, str]
) -> tuple[str, ...]:
    """The whole environment as ``NAME=value``, each name once, in the order of first mention.

    Args:
        config: the image's environment; PATH is added when it has none.
        overrides: ``NAME=value`` over the image's; ``NAME`` alone takes the value from ``lookup``, or takes the variable away
            when it is not there. Later ones win.
        terminal: whether to add TERM when nobody else sets it.
        lookup: our own environment.

    Raises:
        InvalidInput: an override has no name, or a NUL.
    """
    found: dict[str, str] = {}
    for text in config.env:
        name, equals, value = text.partition("=")
        if name and equals and "\0" not in text:
            found[name] = value
    found.setdefault("PATH", DEFAULT_PATH)
    if terminal:
        found.setdefault("TERM", DEFAULT_TERM)
    for text in overrides:
        _override(found, text, lookup)
    return tuple(f"{name}={value}" for name, value in found.items())


def _override(found: dict[str, str], text: str, lookup: Mapping[str, str]) -> None:
    name, equals, value = text.partition("=")
    if not name or "\0" in text:
        raise InvalidInput(
            f"environment variable {name[:80]!r} has no name, or a NUL in it",
            hint="write NAME=value, or NAME",
        )
    if equals:
        found[name] = value
    elif name in lookup:
        found[name] = lookup[name]
    else:
        found.pop(name, None)


def parse_env_file(text: str, source: str) -> tuple[str, ...]:
    """The lines of a file of variables that mean something, as ``overrides`` of :func:`environment_of`.

    As Docker's ``--env-file``: ``NAME=value`` with the value verbatim, ``NAME`` alone, ``#`` at the beginning of a line for
    comments; no quoting and no expansion.

    Args:
        text: the file's.
        source: its name, for messages.

    Raises:
        InvalidInput: a line without a name, or with a space in it; the message gives the line's number.
    """
    return tuple(_env_lines(text.removeprefix(_BOM), source))


def _env_lines(text: str, source: str) -> Iterable[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.removesuffix("\r").lstrip()
        if not bare or bare.startswith("#"):
            continue
        name, _, _ = bare.partition("=")
        if not name or _SPACE.search(name) or "\0" in bare:
            raise InvalidInput(
                f"{source}, line {number}: {name[:80]!r} is not the name of a variable",
                hint="write NAME=value, without spaces in NAME",
            )
        yield bare
