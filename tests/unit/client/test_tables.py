"""What a daemon says is of the kind that is asked for, or left out; and its problems are errors of ours."""

from __future__ import annotations

import pytest

from monocore_core import errors
from monocore_core.client.api import problem, quote, target
from monocore_core.client.tables import (
    flag,
    inner,
    items,
    number,
    parse_table,
    table,
    tables,
    text,
    texts,
    whole,
)

ODD = {"text": 1, "number": "1", "true": True, "list": [{"a": 1}, "x", 2], "table": {"b": "c"}, "half": 0.5}


def test_values_of_another_kind_are_left_out() -> None:
    assert (text(ODD, "text"), text(ODD, "none", "d"), text(inner(ODD, "table"), "b")) == ("", "d", "c")
    assert (number(ODD, "number"), number(ODD, "true", 3.0), number(ODD, "half")) == (0.0, 3.0, 0.5)
    assert (whole(ODD, "half"), whole(ODD, "true"), whole(ODD, "text")) == (0, 0, 1)
    assert (flag(ODD, "true"), flag(ODD, "text")) == (True, False)
    assert (tables(ODD, "list"), texts(ODD, "list"), items(ODD["list"])) == ([{"a": 1}], ["x"], ODD["list"])
    assert (tables(ODD, "table"), texts(ODD, "text"), items("abc")) == ([], [], ())
    assert (inner(ODD, "list"), table(None)) == ({}, {})


@pytest.mark.parametrize("said", [b"", b"[]", b"1", b"{", b'{"a":\xff}', b"[" * 100_000])
def test_what_is_no_table_is_corrupt(said: bytes) -> None:
    with pytest.raises(errors.Corrupt):
        parse_table(said)


def test_problems_are_errors_of_ours() -> None:
    found = problem({"title": "NotFound", "detail": "no such sandbox: x", "hint": "look"}, 404)
    assert isinstance(found, errors.NotFound)
    assert (found.brief, found.hint) == ("no such sandbox: x", "look")
    config = problem({"title": "ConfigError", "detail": "bad", "problems": ["a: 1", 2]}, 400)
    assert isinstance(config, errors.ConfigError)
    assert config.problems == ("a: 1",)
    nothing = problem({"title": "NothingFits", "detail": "none", "reasons": ["x cannot"]}, 422)
    assert isinstance(nothing, errors.NothingFits)
    assert nothing.reasons == ("x cannot",)


@pytest.mark.parametrize("title", ["SystemExit", "__name__", "annotations", "", "Nonsense", "../x"])
def test_a_problem_of_no_kind_of_ours(title: str) -> None:
    found = problem({"title": title}, 418)
    assert type(found) is errors.MonocoreError
    assert found.brief == (title or "the daemon answered with status 418")


def test_targets_are_quoted() -> None:
    assert target("sandboxes", "a/b ü", "x") == "/v1/sandboxes/a%2Fb%20%C3%BC/x"
    assert (
        target("s", all=True, none=None, off=False, n=0, label=["a=b", "c&d"])
        == "/v1/s?all=1&n=0&label=a%3Db&label=c%26d"
    )
    assert quote("\udcff~") == "%FF~"
    assert "\n" not in target("a\r\nHost: b")
