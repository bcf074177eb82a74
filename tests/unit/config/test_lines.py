"""The scanner finds every key where it stands, and nothing else: against tomli, whatever the way of writing."""

from collections.abc import Iterator
from typing import cast

import pytest
import tomli
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.config.lines import Key, headers_of, lines_of

TEXT = '''\
# comment with [brackets] and = signs
title = "a # b" # c
"quoted \\u0041.key" = 1
a.b . "c.d" = [1, 2,
  3, # three
  ["x", """
  long " "" string
  """, {y = 1, z = [ # deep
     'lit']}],
]

[[service]]
name = 'web'
when = 1979-05-27 07:32:00Z
text = """\\
   folded"""
other = \'\'\'
[not a table]
x = 1
four quotes: \'\'\'\'

[service.labels]
tier = "front"
[[service.part]]
n = 1
[[service.part]]
n = 2
[x.y]
z = +inf
[[service]]
name = "db"
[service.labels]
t = 1
'''


def test_every_kind_of_line() -> None:
    lines = lines_of(TEXT)
    expected: dict[tuple[Key, ...], int] = {
        ("title",): 2,
        ("quoted A.key",): 3,
        ("a", "b", "c.d"): 4,
        ("a", "b", "c.d", 1): 4,
        ("a", "b", "c.d", 2): 5,
        ("a", "b", "c.d", 3): 6,
        ("a", "b", "c.d", 3, 1): 6,
        ("a", "b", "c.d", 3, 2): 8,
        ("a", "b", "c.d", 3, 2, "z", 0): 9,
        ("service", 0): 12,
        ("service", 0, "when"): 14,
        ("service", 0, "other"): 17,
        ("service", 0, "labels"): 22,
        ("service", 0, "labels", "tier"): 23,
        ("service", 0, "part", 1, "n"): 27,
        ("x",): 28,
        ("x", "y", "z"): 29,
        ("service", 1, "name"): 31,
        ("service", 1, "labels", "t"): 33,
    }
    assert {path: lines[path] for path in expected} == expected
    assert set(lines) == set(paths(tomli.loads(TEXT)))


def test_headers_know_their_element() -> None:
    assert [path for _, path in headers_of(TEXT)] == [
        ("service", 0),
        ("service", 0, "labels"),
        ("service", 0, "part", 0),
        ("service", 0, "part", 1),
        ("x", "y"),
        ("service", 1),
        ("service", 1, "labels"),
    ]


def paths(value: object, above: tuple[Key, ...] = ()) -> Iterator[tuple[Key, ...]]:
    """Every path of a document but its root."""
    if above:
        yield above
    if isinstance(value, dict):
        for key, part in cast("dict[str, object]", value).items():
            yield from paths(part, (*above, key))
    elif isinstance(value, list):
        for number, part in enumerate(cast("list[object]", value)):
            yield from paths(part, (*above, number))


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.sampled_from(
    ["a", "b", "#", '"', "[x]"]
)
SCALARS = (
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=12)
    | st.dates()
    | st.datetimes()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_the_scanner_finds_what_tomli_reads(document: dict[str, object]) -> None:
    text = tomlkit.dumps(document)
    assert set(lines_of(text)) == set(paths(tomli.loads(text)))


@given(st.text(st.sampled_from("ab.=[]{}\"'#\n, 1\\-:"), max_size=40))
def test_whatever_tomli_accepts_is_understood(text: str) -> None:
    try:
        read = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    assert set(lines_of(text)) == set(paths(read))


@pytest.mark.parametrize("text", ["a", "= 1", "[a", "a = [1", 'a = "x'])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        lines_of(text)
