"""Where the daemon of a home is: what the command line and the configuration say of it, and nothing more of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

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
        config: the configuration file that says where they are, or None when none does.
    """

    __slots__ = ("config", "home", "socket")

    def __init__(self, home: Path, socket: Path, config: Path | None = None) -> None:
        self.home = home
        self.socket = socket
        self.config = config


def place_of(*, home: str | None, config: str | None, environ: Mapping[str, str], cwd: Path) -> Place:
    """The daemon that a command line means; the same home as :func:`monocore_core.config.load.load_settings` finds.

    Args:
        home: of the flag, or None.
        config: of the flag, or None.
        environ: the process's environment.
        cwd: the current folder.

    Raises:
        ConfigError, NotFound: the configuration file cannot be read, or is not there.
    """
    file = find_file(Path(config) if config is not None else None, environ, cwd)
    table = _parse(file) if file is not None else NOTHING
    named = environ.get("MONOCORE_HOME")
    if home is not None:
        found = cwd / Path(home).expanduser()
    elif named:
        found = cwd / named
    else:
        base = file.parent if file is not None else cwd
        found = cwd / base / Path(text(table, "home") or DEFAULT_HOME).expanduser()
    socket = found / (text(inner(table, "daemon"), "socket") or SOCKET)
    says = config is not None or "home" in table or "daemon" in table
    return Place(found, socket, (cwd / file) if file is not None and says else None)


def _parse(file: Path) -> Table:
    import tomllib  # noqa: PLC0415 - most runs have no configuration

    try:
        return cast("Table", tomllib.loads(read_file(file)))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
