"""Which configuration file is read. Light: the command line's client asks it, too."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from monocore_core.errors import ConfigError, NotFound

FILE_NAME = "monocore.toml"
#: Largest configuration file that is read, bytes.
MAX_FILE = 1024 * 1024


def find_file(file: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The configuration file that is to be read, or None.

    Raises:
        NotFound: it was named and does not exist.
        ConfigError: it was found, and another user could have written it.
    """
    named = file or (Path(environ["MONOCORE_CONFIG"]) if environ.get("MONOCORE_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise NotFound(f"configuration file {named} does not exist")
        return named
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/")) / ".config")
    for candidate in (cwd / FILE_NAME, Path(base) / "monocore" / FILE_NAME):
        if candidate.is_file():
            _refuse_foreign(candidate)
            return candidate
    return None


def read_file(path: Path) -> str:
    """Its text, whole.

    Raises:
        ConfigError: it is too large, or not UTF-8.
    """
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ConfigError(f"{path} is larger than {MAX_FILE} bytes")
    try:
        return data.decode()
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _refuse_foreign(path: Path) -> None:
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} was found but not read: another user could have written it",
            hint=f"make it yours (chown, chmod go-w), or name it: --config {path}",
        )
