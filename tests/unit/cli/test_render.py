import json
import os
import pty
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.cli import render


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (7_826_123, "7.83MB"),
        (999_600, "1MB"),
        (12.5e9, "12.5GB"),
        (3e18, "3e+03PB"),
    ],
)
def test_sizes_as_docker_shows_them(size: float, text: str) -> None:
    assert render.human_size(size) == text


@given(st.integers(0, 10**17))
def test_sizes_are_short(size: int) -> None:
    assert len(render.human_size(size)) <= 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86400, "1 day ago"),
        (86400 * 45, "1 month ago"),
        (86400 * 800, "2 years ago"),
        (-5, "0 seconds ago"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert render.human_age(1e9 - seconds, 1e9) == text


def test_a_table_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_table(("NAME", "SIZE"), [("a", "1"), ("long\x1b[2Jname", "22")])
    assert capsys.readouterr().out.splitlines() == [
        "NAME             SIZE",
        "a                1",
        "long\\x1b[2Jname  22",
    ]


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_table(("A", "B"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_json_is_ascii_and_survives_names_that_are_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "é\udcff", "rows": [1, 2.5, None, True]}
    render.print_json(value)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == value


def test_a_table_on_a_terminal_is_not_cut() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 40))
    code = "from monocore_core.cli.render import print_table as p; p(('NAME', 'WHY'), [('[bold]x', 'word ' * 20)])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs) as process:
        os.close(theirs)
        seen = bytearray()
        try:
            while data := os.read(ours, 65536):
                seen += data
        except OSError:  # EIO: the other end is closed
            pass
        os.close(ours)
        assert process.wait(30) == 0
    text = seen.decode()
    assert text.count("word") == 20
    assert "[bold]x" in text
