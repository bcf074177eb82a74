"""The converter reports every problem, with its path, and never guesses."""

from enum import Enum, StrEnum
from pathlib import Path
from typing import cast

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import ConfigError
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.serde import structure, unstructure


class Level(Enum):
    LOW = 1
    HIGH = 2


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen
class Inner:
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    size: int = 1
    ratio: float = 0.5
    names: tuple[str, ...] = ()


@frozen
class Outer:
    home: Path = Path("/")
    on: bool = False
    inner: Inner = field(factory=Inner)
    platform: Platform = field(factory=Platform.host)


def problems(table: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structure(table, Outer, "x.toml")
    return [*caught.value.problems] or [caught.value.brief.removeprefix("x.toml: ")]


def test_every_problem_is_reported_with_its_path() -> None:
    found = problems({"hme": "/", "on": 1, "inner": {"size": True, "ratio": "a", "names": ["a", 2]}})
    assert sorted(found) == [
        "hme: unknown key; did you mean 'home'?",
        "inner.names[1]: expected a string, got a whole number 2",
        "inner.ratio: expected a number, got a string 'a'",
        "inner.size: expected a whole number, got true or false True",
        "on: expected true or false, got a whole number 1",
    ]


def test_an_unknown_key_without_a_neighbour_lists_the_known() -> None:
    assert problems({"inner": {"zzz": 1}}) == [
        "inner.zzz: unknown key (known: colour, level, names, ratio, size)"
    ]


def test_a_bad_value_speaks_its_own_sentence() -> None:
    (problem,) = problems({"platform": "linux"})
    assert problem == "platform: platform 'linux' is not OS/ARCH[/VARIANT], nor a known architecture"


def test_a_choice_becomes_its_member_and_nothing_else_does() -> None:
    made = structure({"colour": "blue", "level": 2}, Inner, "x")
    assert made.colour is Colour.BLUE
    assert made.level is Level.HIGH
    assert problems({"inner": {"level": True}}) == ["inner.level: expected one of 1, 2, got True"]
    assert problems({"inner": {"colour": "green"}}) == [
        "inner.colour: expected one of 'red', 'blue', got 'green'"
    ]
    assert problems({"inner": {"colour": 1}}) == ["inner.colour: expected one of 'red', 'blue', got 1"]


def test_a_table_that_is_no_table() -> None:
    (problem,) = problems({"inner": 3})
    assert problem.startswith("inner: ")


def test_whole_numbers_are_numbers() -> None:
    assert structure({"ratio": 2}, Inner, "x") == Inner(ratio=2.0)


@given(
    st.builds(
        Outer,
        home=st.sampled_from([Path("/a"), Path("b/c")]),
        on=st.booleans(),
        inner=st.builds(
            Inner,
            colour=st.sampled_from(Colour),
            size=st.integers(),
            ratio=st.floats(allow_nan=False),
            names=st.tuples(st.text()),
        ),
    )
)
def test_round_trip(value: Outer) -> None:
    plain = cast("dict[str, object]", unstructure(value))
    assert structure(plain, Outer, "x") == value


def test_digests_are_parsed() -> None:
    @frozen
    class Holder:
        digest: Digest

    digest = Digest.of(b"")
    assert structure({"digest": str(digest)}, Holder, "x") == Holder(digest)
    with pytest.raises(ConfigError, match="is not a digest"):
        structure({"digest": "zz"}, Holder, "x")
    with pytest.raises(ConfigError, match="digest: is missing"):
        structure({}, Holder, "x")
