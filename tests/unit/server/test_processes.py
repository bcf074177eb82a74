"""Processes of a guest, of what it says of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.server.processes import parse_process

STAT = b"42 (a ) b) S 1 42 42 0 -1 4194304 111 0 0 0 150 50 0 0 20 0 1 0 99 2048000 25 18446744073709551615\n"


def test_a_process_is_read() -> None:
    found = parse_process(STAT, b"sh\0-c\0echo\0", b"Name:\tsh\nUid:\t33\t33\t33\t33\n")
    assert found == {"pid": 42, "user": "33", "cpu_seconds": 2.0, "rss": 102400, "command": "sh -c echo"}


def test_one_without_words_goes_by_its_name_and_the_kernels_are_left_out() -> None:
    found = parse_process(STAT, b"", b"")
    assert found is not None
    assert found["command"] == "[a ) b]"
    assert parse_process(STAT.replace(b" 2048000 ", b" 0 "), b"", b"") is None


@pytest.mark.parametrize(
    "stat",
    [
        *(b"", b"x", b"1 (a)", b"x (y) " + b"z " * 30),
        STAT.replace(b" 2048000 ", b" junk "),
        STAT.replace(b" 150 ", b" " + b"9" * 1000 + b" "),
    ],
)
def test_nonsense_is_nobody(stat: bytes) -> None:
    assert parse_process(stat, b"", b"") is None


@given(st.binary(max_size=300), st.binary(max_size=50), st.binary(max_size=100))
def test_whatever_a_guest_says_is_no_accident(stat: bytes, words: bytes, status: bytes) -> None:
    parse_process(stat, words, status)
