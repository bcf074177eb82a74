"""The targets in Python, a module each; the agent's, in C, is in :mod:`scripts.fuzz.agent`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from scripts.fuzz.target import Target

NAMES: Final = ("tar", "document", "reference", "registry", "erofs", "guest", "api", "config", "stream")


def load(name: str) -> Target:
    """A target by its name. Imports what it tests, which takes a while."""
    found: object = vars(import_module(f"{__name__}.{name}"))["TARGET"]
    if not isinstance(found, Target):
        raise TypeError(f"{name} is no target")
    return found
