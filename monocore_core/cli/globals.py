"""The flags that every command takes. A module of its own, light: :mod:`.main` and every command need it."""

from __future__ import annotations


class Globals:
    """The flags that every command takes, before its name or after it.

    Attributes:
        debug: show tracebacks.
        home: folder of the store, or None for the configured one.
        config: configuration file, or None to look for one.
        host: URL of a daemon elsewhere, or None.
        context: name of a context, or None.
        token_file: file with a token for a daemon elsewhere, or None.
        destination: what :func:`.reach.remote_of` found, once it has looked.
    """

    __slots__ = ("config", "context", "debug", "destination", "home", "host", "token_file")

    def __init__(self) -> None:
        self.debug = False
        self.home: str | None = None
        self.config: str | None = None
        self.host: str | None = None
        self.context: str | None = None
        self.token_file: str | None = None
        self.destination: tuple[object] | None = None
