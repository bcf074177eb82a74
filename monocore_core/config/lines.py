"""Where things stand in a TOML file: the line of every key, table and element. Pure.

tomli says what a file means and tomlkit keeps how it is written; neither says where. This reads a text that tomli has accepted, so it need
not check anything: it only has to find where values begin and end. The grammar is TOML 1.0's (https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import tomli
from attrs import define, field

Key = str | int
Path = tuple[Key, ...]

_SPACE = re.compile(r"[ \t]*")
#: Between values of an array: spaces, line feeds, comments.
_FILLING = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
#: A basic string on one line, and a literal one.
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
#: The same over several lines: up to two quotes may stand before the three that close it (TOML 1.0, "String").
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}")
#: Numbers, dates (which may have a space in them) and truth values.
_SCALAR = re.compile(r"[^\n,\]}#]*")


def lines_of(text: str) -> Mapping[Path, int]:
    """The line (from 1) of every key, table and element, by its path: ``("service", 0, "name")``.

    Args:
        text: valid TOML, as tomli accepts it.

    Raises:
        ValueError: it is not; or the scanner does not understand it, which would be an error here.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def headers_of(text: str) -> tuple[tuple[int, Path], ...]:
    """The line and the path of every ``[table]`` and ``[[array]]`` header, in order; of an array's, with the number of its element.

    Raises:
        ValueError: as :func:`lines_of`.
    """
    scanner = _Scanner(text)
    scanner.document()
    return tuple(scanner.headers)


@define
class _Scanner:
    text: str
    at: int = 0
    line: int = 1
    lines: dict[Path, int] = field(factory=dict[Path, int])
    headers: list[tuple[int, Path]] = field(factory=list[tuple[int, Path]])
    #: How many tables of an array there were so far, by the array's path.
    counts: dict[Path, int] = field(factory=dict[Path, int])

    def document(self) -> None:
        """The whole text."""
        table: Path = ()
        self.skip(_FILLING)
        while self.at < len(self.text):
            table = self.header() if self.peek("[") else self.pair(table)
            self.skip(_FILLING)

    def header(self) -> Path:
        """``[table]`` or ``[[array]]``, to the path of what follows."""
        array = self.peek("[[")
        line = self.line
        self.take("[[" if array else "[")
        keys = self.keys()
        self.take("]]" if array else "]")
        outer = self.inside(keys[:-1])
        path = (*outer, keys[-1])
        if array:
            number = self.counts.get(path, 0)
            self.counts[path] = number + 1
            self.lines.setdefault(path, line)
            path = (*path, number)
        else:
            path = self.inside(keys)
        self.lines.setdefault(path, line)
        self.headers.append((line, path))
        return path

    def inside(self, keys: tuple[str, ...]) -> Path:
        """The path that the keys of a header mean: the last element of each array of tables on the way."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            self.lines.setdefault(path, self.line)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return path

    def pair(self, table: Path) -> Path:
        """``key = value``; gives the table in which it stands."""
        line = self.line
        path = table
        for key in self.keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.take("=")
        self.value(path)
        return table

    def keys(self) -> tuple[str, ...]:
        """A dotted key."""
        found = [self.key()]
        self.skip(_SPACE)
        while self.peek("."):
            self.take(".")
            found.append(self.key())
            self.skip(_SPACE)
        return tuple(found)

    def key(self) -> str:
        """One part of a dotted key."""
        self.skip(_SPACE)
        if not (self.peek('"') or self.peek("'")):
            return self.match(_BARE)
        quoted = self.match(_BASIC if self.peek('"') else _LITERAL)
        return cast("str", tomli.loads(f"key = {quoted}")["key"])

    def value(self, path: Path) -> None:
        """Any value; its own line is that of its key, those of its parts are their own."""
        self.skip(_SPACE)
        if self.peek("["):
            self.array(path)
        elif self.peek("{"):
            self.inline(path)
        elif self.peek('"'):
            self.match(_LONG_BASIC if self.peek('"""') else _BASIC)
        elif self.peek("'"):
            self.match(_LONG_LITERAL if self.peek("'''") else _LITERAL)
        else:
            self.match(_SCALAR)

    def array(self, path: Path) -> None:
        self.take("[")
        number = 0
        self.skip(_FILLING)
        while not self.peek("]"):
            element = (*path, number)
            self.lines[element] = self.line
            self.value(element)
            number += 1
            self.skip(_FILLING)
            if self.peek(","):
                self.take(",")
            self.skip(_FILLING)
        self.take("]")

    def inline(self, path: Path) -> None:
        self.take("{")
        self.skip(_FILLING)
        while not self.peek("}"):
            self.pair(path)
            self.skip(_FILLING)
            if self.peek(","):
                self.take(",")
            self.skip(_FILLING)
        self.take("}")

    def peek(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def take(self, word: str) -> None:
        """Exactly this, after spaces."""
        self.skip(_SPACE)
        if not self.peek(word):
            raise ValueError(f"line {self.line}: expected {word!r}")
        self.advance(self.at + len(word))

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None or found.end() == self.at:
            raise ValueError(f"line {self.line}: cannot tell where this ends")
        self.advance(found.end())
        return found[0]

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.advance(found.end())

    def advance(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end
