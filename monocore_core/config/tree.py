"""Plain data (TOML, JSON) as a tree that knows where each part stands, and the list of what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import cast

from attrs import evolve, field, frozen

from monocore_core.config.lines import Key
from monocore_core.errors import ConfigError, MonocoreError

#: Deepest nesting of tables and lists.
MAX_DEPTH = 16
#: Tables, lists and values of one file.
MAX_NODES = 200_000
#: Whole numbers are signed and have 64 bits (TOML 1.0, "Integer").
_MOST = 2**63
_NO_LINES: Mapping[tuple[Key, ...], int] = {}


@frozen
class Origin:
    """The file that something comes from.

    Attributes:
        shown: its name in messages; "" for a request.
        folder: relative paths in it are relative to that; absolute.
    """

    shown: str
    folder: Path


@frozen
class Place:
    """Where something stands.

    Attributes:
        origin: the file.
        line: from 1; 0 where there are none.
        subject: the service or group, for people (``service 'web'``), or "".
        path: from the subject on (``healthcheck.interval``), or "".
        order: of its beginning among all; tells where there are no lines.
    """

    origin: Origin
    line: int = 0
    subject: str = ""
    path: str = ""
    order: int = 0

    def __str__(self) -> str:
        return ":".join(filter(None, (self.origin.shown, str(self.line or ""))))

    def below(self, key: Key, line: int) -> Place:
        """The place of a part."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else key
        return evolve(self, path=self.path + step, line=line or self.line)


Scalar = str | int | float | bool | datetime | date | time | None


@frozen(eq=False)
class Node:
    """A table, a list or a value, with its place.

    Attributes:
        value: a table's parts, a list's, or a plain value (text, number, truth value, date, None).
        place: where it stands.
    """

    value: Mapping[str, Node] | list[Node] | Scalar
    place: Place

    @property
    def table(self) -> Mapping[str, Node] | None:
        """Its parts, when it is a table."""
        return self.value if isinstance(self.value, Mapping) else None

    @property
    def parts(self) -> Mapping[str, Node]:
        """Its parts; none when it is no table."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> list[Node] | None:
        """Its parts, when it is a list. A reader takes out those that it cannot read, so that the others keep their places."""
        return self.value if isinstance(self.value, list) else None

    @property
    def elements(self) -> list[Node]:
        """Its parts; none when it is no list."""
        return self.value if isinstance(self.value, list) else []

    def at(self, *keys: Key) -> Place:
        """The place of a part, or of the nearest thing around it that there is."""
        node = self
        for key in keys:
            try:
                node = node.parts[key] if isinstance(key, str) else node.elements[key]
            except LookupError:
                break
        return node.place


@frozen
class Problems:
    """What is wrong, as it is found."""

    found: list[tuple[Place, str, str]] = field(factory=list[tuple[Place, str, str]])
    warnings: list[tuple[Place, str, str]] = field(factory=list[tuple[Place, str, str]])

    def add(self, place: Place, text: str) -> None:
        """Something is wrong at a key; the message names the key."""
        self.found.append((place, place.path, text))

    def refused(self, place: Place, error: MonocoreError) -> None:
        """What is at a key was refused, with a word of what is right."""
        self.add(place, f"{error.brief} ({error.hint})" if error.hint else error.brief)

    def add_about(self, place: Place, text: str) -> None:
        """Something is wrong there; the message names the key itself, or is about the subject as a whole."""
        self.found.append((place, "", text))

    def warn_about(self, place: Place, text: str) -> None:
        """Something is allowed and yet likely wrong."""
        self.warnings.append((place, "", text))

    def raise_if_any(self, what: str) -> None:
        """Raise what was found.

        Raises:
            ConfigError: with all of it, in the order of the file.
        """
        problems = lines_in_order(self.found)
        if problems:
            brief = problems[0] if len(problems) == 1 else f"{what}: {len(problems)} problems"
            raise ConfigError(brief, problems=problems if len(problems) > 1 else ())


def lines_in_order(found: Iterable[tuple[Place, str, str]]) -> tuple[str, ...]:
    """Each finding as a sentence, ``FILE:LINE: SUBJECT: PATH: TEXT``, each once, by line; files in the order of their first one."""
    listed = list(found)
    files = list(dict.fromkeys(place.origin.shown for place, _, _ in listed))
    ordered = sorted(
        listed,
        key=lambda one: (files.index(one[0].origin.shown), one[0].line, 0 if one[0].line else one[0].order),
    )
    return tuple(
        dict.fromkeys(
            ": ".join(filter(None, (str(place), place.subject, path, text))) for place, path, text in ordered
        )
    )


def tree_of(
    raw: Mapping[str, object],
    origin: Origin,
    problems: Problems,
    lines: Mapping[tuple[Key, ...], int] = _NO_LINES,
) -> Node:
    """The tree of a document. What is too deep, too much, or no value of TOML is left out, and told.

    Args:
        raw: as a parser of TOML or JSON gave it.
        origin: of the document.
        problems: gets what is wrong.
        lines: by path, see :mod:`.lines`.
    """
    return _Grower(lines, problems).grow(raw, (), Place(origin), 0)


@frozen
class _Grower:
    lines: Mapping[tuple[Key, ...], int]
    problems: Problems
    count: list[int] = field(factory=lambda: [0])

    def grow(self, raw: object, path: tuple[Key, ...], place: Place, depth: int) -> Node:
        self.count[0] += 1
        place = evolve(place, order=self.count[0])
        if depth > MAX_DEPTH or self.count[0] > MAX_NODES:
            if self.count[0] <= MAX_NODES + 1:
                text = (
                    f"more than {MAX_NODES} values"
                    if depth <= MAX_DEPTH
                    else f"nested deeper than {MAX_DEPTH}"
                )
                self.problems.add(place, text)
            return Node(None, place)
        if isinstance(raw, Mapping):
            table = cast("Mapping[str, object]", raw)
            return Node({key: self.part(one, path, place, key, depth) for key, one in table.items()}, place)
        if isinstance(raw, list | tuple):
            parts = cast("Sequence[object]", raw)
            return Node(
                [self.part(one, path, place, number, depth) for number, one in enumerate(parts)], place
            )
        return Node(self.plain(raw, place), place)

    def part(self, raw: object, path: tuple[Key, ...], place: Place, key: Key, depth: int) -> Node:
        inner = (*path, key)
        below = place.below(key, self.lines.get(inner, 0))
        if len(inner) == 2 and isinstance(key, int) and inner[0] in _SUBJECTS:
            below = evolve(below, subject=_subject(str(path[0]), key, raw), path="")
        return self.grow(raw, inner, below, depth + 1)

    def plain(self, raw: object, place: Place) -> Scalar:
        if isinstance(raw, int) and not -_MOST <= raw < _MOST:
            self.problems.add(place, "the number is out of range")
            return 0
        if isinstance(raw, str):
            try:
                raw.encode()
            except UnicodeEncodeError:
                self.problems.add(place, "the text has half a character (a lone surrogate) in it")
                return ""
        return cast("Scalar", raw)


def _subject(array: str, number: int, raw: object) -> str:
    """``service 'web'``, or ``service 2`` where it has no name."""
    kind = _SUBJECTS[array]
    name = cast("Mapping[str, object]", raw).get("name") if isinstance(raw, Mapping) else None
    return f"{kind} {name[:80]!r}" if isinstance(name, str) and name else f"{kind} {number + 1}"


_SUBJECTS = {"service": "service", "services": "service", "group": "group", "groups": "group"}
