"""From the flags to the daemon of the home that they mean; it is started when nobody answers."""

from __future__ import annotations

import os
from pathlib import Path

from monocore_core import __version__
from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.client.api import Api
from monocore_core.client.daemon import VARIABLE, Place, place_of
from monocore_core.client.starting import ensure
from monocore_core.errors import ConfigError


def place_for(options: Globals) -> Place:
    """The home and the socket that the flags, the environment and the configuration mean.

    Raises:
        ConfigError, NotFound: the configuration cannot be read.
    """
    return place_of(home=options.home, config=options.config, environ=os.environ, cwd=Path.cwd())


def reach(options: Globals, *, start: bool = True) -> Api:
    """The daemon, which listens.

    Args:
        options: the flags.
        start: start one when nobody listens; otherwise requests fail.

    Raises:
        ConfigError: there is to be no daemon; and what :func:`place_for` and :func:`.starting.ensure` raise.
    """
    if without_daemon():
        raise ConfigError(
            f"this command needs the daemon, and {VARIABLE} is 'never'", hint=f"unset {VARIABLE}"
        )
    place = place_for(options)
    if start:
        ensure(place, os.environ)
    return Api(str(place.socket), _other_version)


def without_daemon() -> bool:
    """Whether the environment says that there is to be no daemon.

    Raises:
        ConfigError: it says something else.
    """
    word = os.environ.get(VARIABLE, "")
    if word not in ("", "auto", "never"):
        raise ConfigError(
            f"{VARIABLE} is {word[:40]!r}", hint="it may be 'never', or 'auto' as when it is not set"
        )
    return word == "never"


def _other_version(version: str) -> None:
    warn(
        f"warning: the daemon is of version {version}, this is {__version__}; 'monocore serve --replace' replaces it"
    )
