"""Tables, moments and endings, as a person has them."""

from __future__ import annotations

from datetime import datetime

import pytest

from monocore_core.cli.attached import Exited, Failed, Lost, OutputGone, Signalled
from monocore_core.cli.columns import columns, print_line
from monocore_core.cli.endings import status_of
from monocore_core.cli.times import local, parse_time
from monocore_core.errors import InvalidInput, NotFound

NOW = 1_800_000_000.0


def test_columns_are_aligned_and_drive_no_terminal() -> None:
    shown = columns(("ID", "NAME"), [("1", "a\x1b[2Jb"), ("longer", "two\nlines"), ("x", "")])
    assert shown == "ID       NAME\n1        a\\x1b[2Jb\nlonger   two lines\nx\n"
    assert columns(("A", "B"), []) == "A   B\n"


def test_a_line_of_json_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_line({"a": "x\ny"})
    assert capsys.readouterr().out == '{"a":"x\\ny"}\n'


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("10m", NOW - 600),
        ("1h", NOW - 3600),
        ("90", NOW - 90),
        ("1700000000", 1_700_000_000.0),
        ("1700000000.25", 1_700_000_000.25),
        ("2026-01-31T12:00:00Z", 1_769_860_800.0),
        ("2026-01-31T13:00:00+01:00", 1_769_860_800.0),
        ("1000000d", 0.0),
    ],
)
def test_times(word: str, seconds: float) -> None:
    assert parse_time(word, NOW) == seconds


def test_a_time_without_a_zone_is_local() -> None:
    assert parse_time("2026-01-31T12:00:00", NOW) == datetime(2026, 1, 31, 12).timestamp()  # noqa: DTZ001
    assert parse_time(local(1234.5), NOW) == 1234.5


@pytest.mark.parametrize(
    "word", ["", "yesterday", "2026-13-01", "-5", "1e9", "٣", "T", "0001-01-01T00:00:00", "9" * 400]
)
def test_what_is_no_time(word: str) -> None:
    with pytest.raises(InvalidInput):
        parse_time(word, NOW)


def test_statuses_of_endings(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(Exited({"code": 7}), "") == 7
    assert status_of(Exited({"code": "7"}), "") == 125
    assert status_of(Lost(), "it runs on") == 125
    assert "it runs on" in capsys.readouterr().err
    assert status_of(Signalled(2, forced=False), "") == 130
    assert status_of(Signalled(2, forced=True), "") == 137
    assert status_of(OutputGone(), "") == 141
    with pytest.raises(NotFound):
        status_of(Failed(NotFound("gone")), "")
