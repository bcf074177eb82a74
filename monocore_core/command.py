"""What a sandbox runs: the image's words and the user's, combined by Docker's rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monocore_core.errors import InvalidInput, LimitExceeded
from monocore_core.model.oci import ImageConfig

#: The PATH of a process when neither the image nor the user gives one, as Docker's.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Bytes of an environment file.
MAX_ENV_FILE = 1024 * 1024


def command_of(
    config: ImageConfig, entrypoint: tuple[str, ...] | None, args: tuple[str, ...]
) -> tuple[str, ...]:
    """The words to execute.

    The user's entrypoint replaces the image's and drops the image's CMD; an empty one (``--entrypoint ""``) drops both. The
    user's arguments replace CMD.

    Raises:
        InvalidInput: nothing is left to run.
    """
    if entrypoint is not None:
        first = tuple(word for word in entrypoint if word) if entrypoint == ("",) else entrypoint
        words = (*first, *args)
    else:
        words = (*(config.entrypoint or ()), *(args or config.cmd or ()))
    if not words:
        raise InvalidInput("no command is given, and the image has none", hint="monocore run IMAGE COMMAND…")
    if any("\0" in word for word in words):
        raise InvalidInput("a command cannot hold a NUL character")
    return words


def environment_of(
    config: ImageConfig, overrides: Iterable[str], terminal: bool, lookup: Mapping[str, str]
) -> tuple[str, ...]:
    """The whole environment, ``NAME=value`` each, names unique.

    Args:
        config: the image's; its own later entries win over its earlier ones.
        overrides: ``NAME=value``, or ``NAME`` to take the value from ``lookup`` (and to leave it out where it has none).
        terminal: whether the process has one; then TERM is set unless somebody set it.
        lookup: the caller's own environment.

    Raises:
        InvalidInput: an entry has no name, or a NUL.
    """
    result = {"PATH": DEFAULT_PATH}
    if terminal:
        result["TERM"] = "xterm"
    for entry in config.env:
        name, equals, value = entry.partition("=")
        if name and equals:
            result[name] = value
    for entry in overrides:
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidInput(f"environment entry {entry[:80]!r} is not NAME=value")
        if equals:
            result[name] = value
        elif name in lookup:
            result[name] = lookup[name]
        else:
            result.pop(name, None)
    return tuple(f"{name}={value}" for name, value in result.items())


def parse_env_file(text: str, source: str) -> tuple[str, ...]:
    """Entries of an environment file as Docker reads it: a line each, ``#`` comments, no quoting.

    Args:
        text: the file's content.
        source: its name, for messages.

    Raises:
        InvalidInput: a line has a blank in its name; the line's number is said.
        LimitExceeded: the file is too large.
    """
    if len(text) > MAX_ENV_FILE:
        raise LimitExceeded(f"environment file {source} is larger than {MAX_ENV_FILE} characters")
    entries: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        stripped = line.lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name = stripped.partition("=")[0]
        if not name or any(character.isspace() for character in name):
            raise InvalidInput(
                f"{source}:{number}: {name[:80]!r} is not a variable's name", hint="write NAME=value"
            )
        entries.append(stripped)
    return tuple(entries)
