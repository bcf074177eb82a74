"""Which configuration file is read. Light: the command line's client asks it, too, which is why paths are texts: pathlib takes longer to import than a daemon to answer."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from monocore_core.errors import ConfigError, NotFound

FILE_NAME = "monocore.toml"
#: Largest configuration file that is read, bytes.
MAX_FILE = 1024 * 1024


def find_file(file: str | None, environ: Mapping[str, str], cwd: str) -> str | None:
    """The path of the configuration file that is to be read, or None.

    Raises:
        NotFound: it was named and does not exist.
        ConfigError: it was found, and another user could have written it.
    """
    named = file if file is not None else environ.get("MONOCORE_CONFIG") or None
    if named is not None:
        if not os.path.isfile(named):
            raise NotFound(f"configuration file {named} does not exist")
        return named
    base = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '/')}/.config"
    for candidate in (f"{cwd}/{FILE_NAME}", f"{base}/monocore/{FILE_NAME}"):
        if os.path.isfile(candidate):
            _refuse_foreign(candidate)
            return candidate
    return None


def read_file(path: str) -> str:
    """Its text, whole.

    Raises:
        ConfigError: it is too large, or not UTF-8.
    """
    with open(path, "rb") as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ConfigError(f"{path} is larger than {MAX_FILE} bytes")
    try:
        return data.decode()
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _refuse_foreign(path: str) -> None:
    status = os.stat(path)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} was found but not read: another user could have written it",
            hint=f"make it yours (chown, chmod go-w), or name it: --config {path}",
        )
