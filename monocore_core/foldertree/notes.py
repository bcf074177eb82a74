"""What of an image could not be kept, counted: thousands of files make one sentence."""

from __future__ import annotations

import threading

from attrs import define, field

from monocore_core.layertree import show


@define(eq=False)
class Notes:
    """Of one tree; several threads may add."""

    _found: dict[str, tuple[int, bytes]] = field(factory=dict[str, tuple[int, bytes]], init=False)
    _said: list[str] = field(factory=list[str], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def add(self, what: str, path: bytes) -> None:
        """One more file of which ``what`` is true; the first one's path is kept."""
        with self._lock:
            count, first = self._found.get(what, (0, path))
            self._found[what] = (count + 1, first)

    def say(self, sentence: str) -> None:
        """Something that is a sentence already."""
        with self._lock:
            self._said.append(sentence)

    def sentences(self) -> list[str]:
        """What was said, then one for each kind, in the order they came up."""
        with self._lock:
            found, said = list(self._found.items()), list(self._said)
        return said + [
            f"{show(first)}{f' and {count - 1} more' if count > 1 else ''}: {what}"
            for what, (count, first) in found
        ]
