"""Paths, whiteouts and bounds."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError, Unsupported
from monocore_core.layertar import Entry, EntryKind, LayerEvent, Limits, Opaque, Whiteout, read_layer
from monocore_core.layertar.limits import DEFAULT_LIMITS
from monocore_core.layertar.paths import clean
from monocore_core.testing.tarbuilder import END, header, member, pax


def events(data: bytes, limits: Limits = DEFAULT_LIMITS) -> list[LayerEvent]:
    return list(read_layer(io.BytesIO(data + END), limits=limits))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a/b", b"a/b"),
        (b"/a/b", b"a/b"),
        (b"./a//b/", b"a/b"),
        (b"././a/./b/.", b"a/b"),
        (b"a/../b", b"b"),
        (b"a/b/../../c", b"c"),
        (b".", b""),
        (b"./", b""),
        (b"/", b""),
        (b"///", b""),
        (b"..a/...", b"..a/..."),
        (b".hidden/.x", b".hidden/.x"),
        (b"a\\..\\b", b"a\\..\\b"),
    ],
)
def test_paths_are_cleaned(name: bytes, path: bytes) -> None:
    (entry,) = events(header(name, b"5"))
    assert entry == Entry(path, EntryKind.DIRECTORY, 0o644)


@pytest.mark.parametrize(
    "name", [b"..", b"../a", b"/..", b"a/../../b", b"./../a", b"a/b/../../..", b"/../etc"]
)
def test_paths_that_climb_out_are_refused(name: bytes) -> None:
    for data in (header(name), header(b"h", b"1", link=name), pax((b"path", name)) + header(b"a")):
        with pytest.raises(Corrupt, match="climbs out of the root"):
            events(data)


_PARTS = st.lists(st.sampled_from([b"a", b"b", b".", b"..", b"", b"...", b".c", b"a.", b"..d"]), max_size=8)


@given(_PARTS.map(b"/".join))
def test_cleaning_is_what_walking_the_parts_is(name: bytes) -> None:
    depth: list[bytes] | None = []
    for part in name.split(b"/"):
        if part in {b"", b"."} or depth is None:
            continue
        if part != b"..":
            depth.append(part)
        else:
            depth = depth[:-1] if depth else None
    if depth is None:
        with pytest.raises(Corrupt):
            clean(name, Limits())
    else:
        assert clean(name, Limits()) == b"/".join(depth)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b".wh.a", Whiteout(b"a")),
        (b"./d/.wh.a", Whiteout(b"d/a")),
        (b"d/.wh..hidden", Whiteout(b"d/.hidden")),
        (b"d/.wh....", Whiteout(b"d/...")),
        (b".wh..wh..opq", Opaque(b"")),
        (b"d/e/.wh..wh..opq", Opaque(b"d/e")),
    ],
)
@pytest.mark.parametrize("flag", [b"0", b"5", b"2", b"3"])
def test_whiteouts(name: bytes, expected: LayerEvent, flag: bytes) -> None:
    assert events(header(name, flag)) == [expected]


def test_a_whiteout_with_data_is_skipped_over() -> None:
    data = member(b".wh.a", b"z" * 700) + header(b"b")
    assert events(data) == [Whiteout(b"a"), Entry(b"b", EntryKind.FILE, 0o644, position=4 * 512)]


@pytest.mark.parametrize(
    "name", [b".wh..wh.plnk/12.34", b".wh..wh.aufs", b"d/.wh..wh.orph/", b".wh..wh..opq/x"]
)
def test_what_aufs_kept_is_ignored(name: bytes) -> None:
    assert events(header(name)) == []


@pytest.mark.parametrize("name", [b".wh.", b"d/.wh.", b".wh..", b".wh...", b".wh.a/b", b"d/.wh.a/.wh.b"])
def test_wrong_whiteouts_are_refused(name: bytes) -> None:
    with pytest.raises(Corrupt, match="whiteout"):
        events(header(name))


def test_hard_links_to_what_is_no_file_are_refused() -> None:
    with pytest.raises(Corrupt, match="whiteout"):
        events(header(b"a", b"1", link=b"d/.wh.b"))
    with pytest.raises(Unsupported, match="aufs"):
        events(header(b"a", b"1", link=b".wh..wh.plnk/1.2"))
    for link in (b"", b"./", b"/"):
        with pytest.raises(Corrupt, match="root"):
            events(header(b"a", b"1", link=link))


@pytest.mark.parametrize("flag", [b"0", b"1", b"2", b"3", b"6"])
def test_the_root_is_a_folder(flag: bytes) -> None:
    with pytest.raises(Corrupt, match="root"):
        events(header(b".", flag, link=b"x", device=(1, 1)))


def test_symlinks_need_a_target() -> None:
    with pytest.raises(Corrupt, match="without a target"):
        events(header(b"s", b"2"))


def test_devices_that_linux_has_not() -> None:
    with pytest.raises(Unsupported, match="4096:0"):
        events(header(b"c", b"3", device=(4096, 0)))


def _named(path: bytes) -> bytes:
    return pax((b"path", path)) + header(b"x")


def test_bounds_of_paths() -> None:
    deep = b"/".join([b"d"] * 256)
    assert len(events(_named(deep))) == 1
    long = b"/".join([b"e" * 255] * 16)
    assert len(events(_named(long))) == 1
    for path, message in (
        (deep + b"/d", "257 folders deep"),
        (long + b"/f", "4097 bytes"),
        (b"g" * 256, "256 bytes"),
        (b"a/" + b"g" * 256 + b"/b", "256 bytes"),
    ):
        with pytest.raises(LimitExceeded, match=message):
            events(_named(path))
    with pytest.raises(LimitExceeded, match="target"):
        events(pax((b"linkpath", b"t" * 4097)) + header(b"x", b"2"))


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        (Limits(entries=2), header(b"a") + header(b".wh.b") + header(b"c")),
        (Limits(extended=100), pax((b"comment", b"c" * 100)) + header(b"a")),
        (Limits(extended=100), member(b"L", b"n" * 101, b"L") + header(b"a")),
        (Limits(metadata=300), (pax((b"comment", b"c" * 100)) + header(b"a")) * 3),
        (Limits(chained=2), pax((b"comment", b"c")) * 3 + header(b"a")),
        (Limits(xattrs=1), pax((b"SCHILY.xattr.a", b"1"), (b"SCHILY.xattr.b", b"1")) + header(b"a")),
        (Limits(xattr_bytes=10), pax((b"SCHILY.xattr.a", b"1" * 10)) + header(b"a")),
        (
            Limits(segments=1),
            pax((b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,1,2,1")) + member(b"a", b"xy"),
        ),
        (
            Limits(extended=150),
            pax((b"comment", b"c" * 90), flag=b"g") + pax((b"other", b"c" * 90), flag=b"g") + header(b"a"),
        ),
    ],
)
def test_bounds(limits: Limits, data: bytes) -> None:
    assert events(data)
    with pytest.raises(LimitExceeded):
        events(data, limits)


def test_a_sparse_map_is_bounded() -> None:
    records = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"0"))
    body = b"600\n" + b"0\n" * 1200
    data = records + member(b"a", body + bytes(-len(body) % 512))
    assert len(events(data)) == 1
    with pytest.raises(LimitExceeded, match="map"):
        events(data, Limits(extended=1024))


def test_a_claim_of_a_huge_size_costs_nothing() -> None:
    with pytest.raises(MonocoreError):
        events(header(b"x", b"x", size=0o77777777777))
