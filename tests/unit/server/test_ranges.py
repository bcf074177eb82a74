"""A range is what RFC 9110 says, and never outside of the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import InvalidInput
from monocore_core.server.ranges import ByteRange, range_of


@pytest.mark.parametrize(
    ("header", "size", "wanted"),
    [
        ("bytes=0-0", 10, ByteRange(0, 0)),
        ("bytes=3-5", 10, ByteRange(3, 5)),
        ("bytes=3-", 10, ByteRange(3, 9)),
        ("Bytes = 8-100", 10, ByteRange(8, 9)),
        ("bytes=-3", 10, ByteRange(7, 9)),
        ("bytes=-30", 10, ByteRange(0, 9)),
        ("bytes=-0", 10, None),
        ("bytes=10-", 10, None),
        ("bytes=0-", 0, None),
        ("bytes=-1", 0, None),
    ],
)
def test_one_range(header: str, size: int, wanted: ByteRange | None) -> None:
    assert range_of(header, size) == wanted


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=0-1,3-4", "lines=0-1", "bytes=٣-٥", "bytes=0-1x"],
)
def test_what_is_none_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="Range"):
        range_of(header, 10)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_lies_within(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    for header in (
        f"bytes={first}-",
        f"bytes=-{last}",
        *([f"bytes={first}-{last}"] if first <= last else []),
    ):
        found = range_of(header, size)
        if found is not None:
            assert 0 <= found.first <= found.last < size
            assert found.length == len(data[found.first : found.last + 1])
