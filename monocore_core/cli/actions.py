"""Commands that have commands of their own, as ``images rm`` and ``volume create``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from monocore_core.cli.arguments import UsageError, nearest
from monocore_core.cli.globals import Globals

Action = Callable[[list[str], Globals], int]


def act(command: str, actions: Mapping[str, Action], words: list[str], options: Globals) -> int:
    """Run the action that the first word names, with the rest; the first action without a word, or where flags only are given.

    Raises:
        UsageError: it names none.
    """
    if not words or words[0].startswith("-"):
        return next(iter(actions.values()))(words, options)
    name, *rest = words
    if name not in actions:
        near = nearest(name, actions)
        hint = f"did you mean '{near}'?" if near else f"one of {', '.join(actions)}."
        raise UsageError(f"unknown command: {command} {name}", hint, f"monocore {command}")
    return actions[name](rest, options)
