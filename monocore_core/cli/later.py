"""Parsers of words that are imported when a word is there: most commands are given few flags, and the values of some take long to define."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module


def later(module: str, function: str) -> Callable[[str], object]:
    """``function`` of ``module``, which is imported at the first call.

    Args:
        module: its full name.
        function: takes a word and gives a value; raises InvalidInput for one that makes no sense.
    """

    def parse(word: str) -> object:
        found: Callable[[str], object] = getattr(import_module(module), function)
        return found(word)

    return parse
