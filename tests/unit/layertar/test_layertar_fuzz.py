"""Damaged tars give events or one of our errors, whatever was damaged."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.errors import MonocoreError
from monocore_core.layertar import LayerEvent, Limits, read_layer
from monocore_core.testing.layer_events import check_events
from monocore_core.testing.layers import Stack, stacks, tar_of
from monocore_core.testing.tarbuilder import END, header, member, pax, sign

_SPARSE = (
    pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"5000"))
    + member(b"s", b"1\n4096\n4\n".ljust(512, b"\0") + b"data")
    + pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", b"0,4"))
    + member(b"t", b"data")
    + pax((b"GNU.sparse.size", b"9"), (b"GNU.sparse.offset", b"3"), (b"GNU.sparse.numbytes", b"4"))
    + member(b"u", b"data")
)
_SPARSE_HEADER = header(b"s", b"S", size=4, dialect="gnu")
_GNU = (
    member(b"L", b"long/" * 40 + b"\0", b"L", dialect="gnu")
    + member(b"K", b"../" * 40 + b"t\0", b"K", dialect="gnu")
    + header(b"l", b"2", link=b"x", dialect="gnu")
    + sign(_SPARSE_HEADER[:386] + b"00000000002\x0000000000004\0" + bytes(73) + b"00000000011\0" + bytes(17))
    + b"data".ljust(512, b"\0")
)
_ATTRIBUTES = (
    pax((b"SCHILY.xattr.user.a", b"1"), flag=b"g")
    + pax((b"LIBARCHIVE.xattr.user.b", b"AAAA"), (b"mtime", b"-1.5"))
    + header(b"d/.wh.x")
    + header(b"h", b"1", link=b"d/y", size=3)
)


def read(data: bytes) -> None:
    """Read until the end or one of our errors; anything else fails the test."""
    found: list[LayerEvent] = []
    try:
        for event in read_layer(io.BytesIO(data), limits=Limits(entries=1000)):
            found.append(event)  # noqa: PERF402 - what was found before an error counts
    except MonocoreError as error:
        refusal = error.brief
    else:
        refusal = ""
    assert refusal.isprintable()
    check_events(found, len(data))


_FIELDS = st.sampled_from(
    [0, 1, 100, 107, 108, 124, 125, 135, 136, 156, 157, 257, 262, 329, 345, 386, 482, 483]
)


@settings(max_examples=150, deadline=None)
@given(
    stacks(valid=False, layers=1),
    st.sampled_from([_SPARSE, _GNU, _ATTRIBUTES]),
    st.lists(st.tuples(st.integers(0, 40), _FIELDS | st.integers(0, 511), st.integers(0, 255)), max_size=4),
    st.booleans(),
    st.none() | st.integers(0, 20_000),
)
def test_damage(
    stack: Stack,
    extra: bytes,
    damage: list[tuple[int, int, int]],
    mend: bool,
    cut: int | None,
) -> None:
    """Bytes are changed, with the checksum mended or not, and the end is cut."""
    data = bytearray(extra + tar_of(stack[0]))
    for block, offset, value in damage:
        at = block * 512
        if at + 512 > len(data):
            continue
        data[at + offset] = value
        if mend:
            data[at : at + 512] = sign(bytes(data[at : at + 512]))
    read(bytes(data[:cut]))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_any_pax_header(body: bytes) -> None:
    read(member(b"p", body, b"x") + header(b"f") + END)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=512, max_size=512), st.binary(max_size=1500))
def test_any_header(block: bytes, rest: bytes) -> None:
    read(sign(block) + rest)


def test_the_standard_library_agrees_on_what_is_mended() -> None:
    """The parts above are well-formed before they are damaged."""
    for part in (_SPARSE, _GNU, _ATTRIBUTES):
        with tarfile.open(fileobj=io.BytesIO(part + END)) as tar:
            names = tar.getnames()
        found = list(read_layer(io.BytesIO(part + END)))
        assert len(found) == len(names)
