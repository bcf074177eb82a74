"""From the flags to the daemon that they mean: one elsewhere, or that of this host's home, which is started when nobody answers."""

from __future__ import annotations

import os
import time

from monocore_core import __version__
from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.client.api import Api
from monocore_core.client.connection import NobodyListens, connect
from monocore_core.client.daemon import VARIABLE, Place, place_of
from monocore_core.client.destination import destination
from monocore_core.client.remote import Remote
from monocore_core.client.starting import ensure
from monocore_core.errors import ConfigError, InvalidInput, MonocoreError, Unauthenticated, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

#: Seconds for which a daemon waits for a request as long as it likes.
_FRESH = 1.0


def remote_of(options: Globals) -> Remote | None:
    """The daemon elsewhere that the flags, the environment or the current context mean; None: this host's.

    Raises:
        MonocoreError: as :func:`.destination.destination`.
    """
    if options.destination is None:  # a token is read from standard input once
        found = destination(
            os.environ,
            host=options.host,
            context=options.context,
            token_file=options.token_file,
            home=options.home,
        )
        options.destination = (found,)
    (known,) = options.destination
    return known if isinstance(known, Remote) else None


def only_here(options: Globals) -> None:
    """For what is about this host by nature.

    Raises:
        InvalidInput: a daemon elsewhere is meant.
    """
    remote = remote_of(options)
    if remote is not None:
        raise InvalidInput(
            f"this command is about this host, and {remote.named_by} is {remote.url}",
            hint=f"run it there; or, for this host, {this_host(remote)}",
        )


def this_host(remote: Remote) -> str:
    """What to do to mean this host's daemon."""
    return "without --host" if remote.named_by == "--host" else "with --context default"


def place_for(options: Globals) -> Place:
    """The home and the socket that the flags, the environment and the configuration mean.

    Raises:
        ConfigError, NotFound: the configuration cannot be read.
    """
    return place_of(home=options.home, config=options.config, environ=os.environ, cwd=os.getcwd())


def reach(options: Globals, *, start: bool = True) -> Api:
    """The daemon that is meant; this host's listens.

    Args:
        options: the flags.
        start: start this host's when nobody listens; otherwise requests fail.

    Raises:
        ConfigError: there is to be no daemon; and what :func:`remote_of`, :func:`place_for` and :func:`.starting.ensure` raise.
    """
    remote = remote_of(options)
    return reach_here(options, start=start) if remote is None else api_of(remote)


def reach_here(options: Globals, *, start: bool = True) -> Api:
    """This host's daemon; otherwise as :func:`reach`."""
    if without_daemon():
        raise ConfigError(
            f"this command needs the daemon, and {VARIABLE} is 'never'", hint=f"unset {VARIABLE}"
        )
    place = place_for(options)
    if not start:
        return Api(place.socket, _other_version)
    way = _Held(_connected(place), place.socket)
    return Api(way, _other_version, again=lambda: ensure(place, os.environ))


def _connected(place: Place) -> _socket.socket:
    """A connection to the daemon, which is started when nobody listens."""
    try:
        return connect(place.socket)
    except NobodyListens:
        ensure(place, os.environ)
        return connect(place.socket)


class _Held:
    """The way to a daemon to which there is a connection already, for the first request; unless that is long in coming.

    Args:
        made: the connection, owned.
        path: of the socket.
    """

    def __init__(self, made: _socket.socket, path: str) -> None:
        self._made: _socket.socket | None = made
        self._path = path
        self._until = time.monotonic() + _FRESH

    def __del__(self) -> None:
        if self._made is not None:  # nothing was asked after all
            self._made.close()

    def __call__(self) -> _socket.socket:
        """Connect.

        Raises:
            MonocoreError: as :func:`.connection.connect`.
        """
        made, self._made = self._made, None
        if made is not None and time.monotonic() < self._until:
            return made
        if made is not None:
            made.close()
        return connect(self._path)


def api_of(remote: Remote) -> Api:
    """A daemon elsewhere."""

    def other(version: str) -> None:
        warn(f"warning: the daemon at {remote.url} is of version {version}, this is {__version__}")

    return Api(remote.way, other, remote.headers, lambda error: _explained(error, remote))


def without_daemon() -> bool:
    """Whether the environment says that there is to be no daemon on this host.

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


def _explained(error: MonocoreError, remote: Remote) -> MonocoreError:
    """What this side knows of an error of a daemon elsewhere."""
    if isinstance(error, Unauthenticated):
        hint = (
            f"'monocore token create' on the daemon's host makes another (this one is of {remote.token_of})"
            if remote.token
            else "give one: MONOCORE_TOKEN, --token-file FILE, or 'monocore context create'; 'monocore token create' on the daemon's host makes one"
        )
        return Unauthenticated(f"{remote.url}: {error.brief}", hint=hint)
    if type(error) is Unreachable and error.hint is None and remote.url.scheme == "http":
        return Unreachable(error.brief, hint=f"with TLS it is https://{remote.url.authority}")
    return error
