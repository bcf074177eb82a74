"""The flags that every command takes. A module of its own, light: :mod:`.main` and every command need it."""

from __future__ import annotations


class Globals:
    """The flags that every command takes, before its name or after it.

    Attributes:
        debug: show tracebacks.
        home: folder of the store, or None for the configured one.
        config: configuration file, or None to look for one.
    """

    __slots__ = ("config", "debug", "home")

    def __init__(self) -> None:
        self.debug = False
        self.home: str | None = None
        self.config: str | None = None
