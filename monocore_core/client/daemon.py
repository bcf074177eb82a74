"""Where the daemon of a home is: what the command line and the configuration say of it, and nothing more of the configuration.

Every command asks: paths are texts, since pathlib takes longer to import than a daemon to answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from monocore_core.client.tables import NOTHING, Table, inner, text
from monocore_core.config.find import find_file, read_file
from monocore_core.errors import ConfigError

SOCKET = "monocore.sock"
DEFAULT_HOME = "~/.monocore"
#: ``never``: the command line does without a daemon, where it can.
VARIABLE = "MONOCORE_DAEMON"


class Place:
    """A home, and the socket of its daemon.

    Attributes:
        home: absolute.
        socket: absolute.
        config: the configuration file that says where they are, absolute, or None when none does.
    """

    __slots__ = ("config", "home", "socket")

    def __init__(self, home: str, socket: str, config: str | None = None) -> None:
        self.home = home
        self.socket = socket
        self.config = config


def place_of(*, home: str | None, config: str | None, environ: Mapping[str, str], cwd: str) -> Place:
    """The daemon that a command line means; the same home as :func:`monocore_core.config.load.load_settings` finds.

    Args:
        home: of the flag, or None.
        config: of the flag, or None.
        environ: the process's environment.
        cwd: the current folder, absolute.

    Raises:
        ConfigError, NotFound: the configuration file cannot be read, or is not there.
    """
    file = find_file(config, environ, cwd)
    table = _parse(file) if file is not None else NOTHING
    named = environ.get("MONOCORE_HOME")
    join, full = os.path.join, os.path.expanduser
    if home is not None:
        found = join(cwd, full(home))
    elif named:
        found = join(cwd, named)
    else:
        base = os.path.dirname(file) if file is not None else cwd
        found = join(cwd, base, full(text(table, "home") or DEFAULT_HOME))
    socket = join(found, text(inner(table, "daemon"), "socket") or SOCKET)
    says = config is not None or "home" in table or "daemon" in table
    return Place(found, socket, join(cwd, file) if file is not None and says else None)


def _parse(file: str) -> Table:
    """What it says, where it has the words that matter here; what else is wrong in it whoever reads the rest will say."""
    said = read_file(file)
    if not any(word in said for word in ("home", "daemon", "\\u", "\\U")):
        return NOTHING
    import tomllib  # noqa: PLC0415 - takes as long as everything else here

    try:
        return tomllib.loads(said)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
