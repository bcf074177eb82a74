"""What a target is: a name, a function that must survive any bytes, and inputs to begin with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TypeVar

from attrs import define, frozen

from monocore_core.errors import MonocoreError

T = TypeVar("T")


@frozen
class Target:
    """One parser, or several that are one on the way of the bytes.

    Attributes:
        name: on the command line.
        what: it is, in a few words.
        run: takes an input; raises when something is wrong that no input may cause.
        seeds: inputs to begin with, from which the corpus grew.
        covers: modules whose branches the corpus has to reach.
        aside: functions in them that read nothing of others, by patterns of their names.
        longest: bytes of an input.
    """

    name: str
    what: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    covers: tuple[str, ...]
    aside: tuple[str, ...] = ()
    longest: int = 4096


@contextmanager
def refusals() -> Generator[None]:
    """Refusing in a sentence is right; anything else that is raised is a finding."""
    try:
        yield
    except MonocoreError as error:
        if not error.brief or len(error.brief) > MOST_WORDS:
            raise AssertionError(f"a refusal of {len(error.brief)} characters") from error


#: Characters of a refusal's first line: an input must not be able to fill a terminal or a log.
MOST_WORDS = 8192


@define
class Taken:
    """An input taken apart from its beginning; what is not there any more reads as zeros."""

    data: bytes
    at: int = 0

    @property
    def left(self) -> bool:
        """Whether there is more."""
        return self.at < len(self.data)

    def part(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        found = self.data[self.at : self.at + size]
        self.at += size
        return found

    def byte(self) -> int:
        """The next byte."""
        return (self.part(1) or b"\0")[0]

    def number(self, size: int = 2) -> int:
        """The next ``size`` bytes, little-endian."""
        return int.from_bytes(self.part(size), "little")

    def pick(self, choices: Sequence[T]) -> T:
        """One of a few, by the next byte."""
        return choices[self.byte() % len(choices)]

    def rest(self) -> bytes:
        """All that is left."""
        return self.part(len(self.data))
