"""Every dialect, header by header."""

from __future__ import annotations

import base64
import io
from typing import BinaryIO, cast

import pytest

from monocore_core.errors import Corrupt, Unsupported
from monocore_core.layertar import Entry, EntryKind, LayerEvent, Segment, read_layer
from monocore_core.testing.tarbuilder import (
    BLOCK,
    END,
    base256,
    header,
    member,
    padded,
    pax,
    pax_records,
    sign,
)


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, 700) if size >= 0 else 700)


def pipe(data: bytes) -> BinaryIO:
    return cast("BinaryIO", Pipe(data))


def events(data: bytes) -> list[LayerEvent]:
    """What both ways of reading say, which must be the same."""
    sought = list(read_layer(io.BytesIO(data)))
    assert list(read_layer(pipe(data))) == sought
    return sought


def entries(data: bytes) -> list[Entry]:
    found = [event for event in events(data) if isinstance(event, Entry)]
    assert len(found) == len(events(data))
    return found


def only(data: bytes) -> Entry:
    (entry,) = entries(data + END)
    return entry


def test_an_empty_archive_has_no_events() -> None:
    assert events(END) == []
    assert events(b"") == []
    assert events(bytes(10240)) == []


def test_every_type_of_file() -> None:
    data = (
        header(b"d/", b"5", mode=0o40755, size=77)
        + member(b"d/f", b"hello")
        + header(b"d/h", b"1", link=b"./d//f")
        + header(b"d/s", b"2", link=b"../../etc/passwd")
        + header(b"d/c", b"3", device=(1, 3))
        + header(b"d/b", b"4", device=(259, 0xFFFFF))
        + header(b"d/p", b"6", uid=0o1777777, mtime=7)
        + member(b"d/7", b"x" * 513, b"7")
        + END
    )
    found = entries(data)
    assert [entry.kind for entry in found] == [
        EntryKind.DIRECTORY,
        EntryKind.FILE,
        EntryKind.HARDLINK,
        EntryKind.SYMLINK,
        EntryKind.CHARACTER,
        EntryKind.BLOCK,
        EntryKind.FIFO,
        EntryKind.FILE,
    ]
    assert found[0] == Entry(b"d", EntryKind.DIRECTORY, 0o755)
    assert found[1] == Entry(b"d/f", EntryKind.FILE, 0o644, size=5, position=2 * BLOCK)
    assert found[2].link == b"d/f"
    assert found[3].link == b"../../etc/passwd"
    assert (found[4].device, found[5].device) == ((1, 3), (259, 0xFFFFF))
    assert (found[6].uid, found[6].mtime_ns) == (0o1777777, 7_000_000_000)
    assert data[found[7].position :][:513] == b"x" * 513


def test_v7_spells_folders_as_files_with_a_slash() -> None:
    assert only(header(b"d/", b"\0", dialect="v7", size=5)).kind is EntryKind.DIRECTORY
    assert only(header(b"d/", b"0", dialect="v7")).kind is EntryKind.DIRECTORY
    assert only(member(b"f", b"abc", b"\0", dialect="v7")).kind is EntryKind.FILE


def test_the_prefix_counts_in_ustar_only() -> None:
    assert only(header(b"f", prefix=b"a/b")).path == b"a/b/f"
    assert only(header(b"f", prefix=b"a/b", dialect="gnu")).path == b"f"
    assert only(header(b"f", prefix=b"a/b", dialect="v7")).path == b"f"


def test_a_full_name_and_prefix_need_no_nul() -> None:
    assert only(header(b"n" * 100, prefix=b"p" * 155)).path == b"p" * 155 + b"/" + b"n" * 100


def test_stars_prefix_is_shorter() -> None:
    block = header(b"f", prefix=b"a/b".ljust(131, b"\0") + b"00000000017 ")
    block = sign(block[:508] + b"tar\0")
    assert only(block).path == b"a/b/f"


@pytest.mark.parametrize("value", [0, 1, -1, 2**33, -(2**40), 2**62])
def test_base_256_numbers(value: int) -> None:
    assert only(header(b"f", mtime=base256(value, 12))).mtime_ns == value * 10**9


def test_base_256_sizes_and_owners() -> None:
    found = only(header(b"f", size=base256(3, 12), uid=base256(4_000_000_000, 8)) + padded(b"abc"))
    assert (found.size, found.uid) == (3, 4_000_000_000)


@pytest.mark.parametrize("field", [b" 644 \0", b"0000644 ", b"644\0junk", b"  644", b"\x00\x00644"])
def test_old_spellings_of_octal(field: bytes) -> None:
    assert only(header(b"f", mode=field)).mode == 0o644


@pytest.mark.parametrize("field", [b"0o644", b"6_44", b"+644", b"-1", b"9", b"6 4", b"abc"])
def test_what_is_no_octal_number_is_refused(field: bytes) -> None:
    with pytest.raises(Corrupt, match="number"):
        events(header(b"f", mode=field) + END)


@pytest.mark.parametrize(
    "block",
    [
        header(b"f", size=base256(-1, 12)),
        header(b"f", size=base256(2**63, 12)),
        header(b"f", uid=base256(-1, 8)),
        header(b"f", gid=base256(2**32, 8)),
        header(b"f", mtime=base256(2**64, 12)),
    ],
)
def test_impossible_numbers_are_refused(block: bytes) -> None:
    with pytest.raises(Corrupt):
        events(block + END)


def test_a_checksum_of_signed_bytes_is_right_too() -> None:
    block = header(b"\xff\xfe", prefix=b"\x80")
    blank = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in blank)
    assert only(sign(blank, signed)).path == b"\x80/\xff\xfe"


def test_a_header_of_many_high_bytes_has_a_right_checksum() -> None:
    """Its sum is beyond Adler's modulus."""
    found = only(header(b"\xff" * 100, link=b"\xff" * 100, prefix=b"\xff" * 155))
    assert found.path == b"\xff" * 155 + b"/" + b"\xff" * 100


@pytest.mark.parametrize("off", [-1, 1, 7])
def test_a_wrong_checksum_is_refused(off: int) -> None:
    block = header(b"f")
    with pytest.raises(Corrupt, match="byte 0: its checksum is wrong"):
        events(sign(block, sum(block[:148] + b" " * 8 + block[156:]) + off) + END)


def test_gnu_long_names_and_links() -> None:
    name, link = b"n/" * 100 + b"e", b"../" * 90 + b"t"
    found = only(
        member(b"././@LongLink", link + b"\0", b"K", dialect="gnu")
        + member(b"././@LongLink", name + b"\0junk", b"L", dialect="gnu")
        + header(b"short", b"2", link=b"short", dialect="gnu")
    )
    assert (found.path, found.link) == (name, link)


def test_long_names_hold_for_one_entry() -> None:
    data = member(b"x", b"long\0", b"L") + header(b"a") + header(b"b") + END
    assert [entry.path for entry in entries(data)] == [b"long", b"b"]


def test_pax_takes_the_place_of_fields() -> None:
    extended = pax(
        (b"path", b"\xff/\xc3\xa9"),
        (b"hdrcharset", b"BINARY"),
        (b"uid", b"4000000000"),
        (b"gid", b"5"),
        (b"mtime", b"1700000000.1234567899"),
        (b"size", b"3"),
        (b"SCHILY.xattr.security.capability", b"\x01\0\n=\xff"),
        (b"LIBARCHIVE.xattr.user.a%3Db", base64.b64encode(b"\0v").rstrip(b"=")),
        (b"LIBARCHIVE.xattr.security.capability", b"AAAA"),
        (b"comment", b"ignored"),
    )
    found = only(extended + header(b"short", size=0) + padded(b"abc"))
    assert found == Entry(
        b"\xff/\xc3\xa9",
        EntryKind.FILE,
        0o644,
        4_000_000_000,
        5,
        1_700_000_000_123_456_789,
        3,
        len(extended) + BLOCK,
        xattrs={b"security.capability": b"\x01\0\n=\xff", b"user.a=b": b"\0v"},
    )


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"-1", -1_000_000_000),
        (b"-1.5", -1_500_000_000),
        (b"-0.000000001", -1),
        (b"1.", 1_000_000_000),
        (b".25", 250_000_000),
    ],
)
def test_pax_times(text: bytes, nanoseconds: int) -> None:
    assert only(pax((b"mtime", text)) + header(b"f")).mtime_ns == nanoseconds


@pytest.mark.parametrize("text", [b".", b"-", b"1e3", b"0x1", b"1.-5", b"inf", b"99999999999999999999"])
def test_what_is_no_time_is_refused(text: bytes) -> None:
    with pytest.raises(Corrupt, match="mtime"):
        events(pax((b"mtime", text)) + header(b"f") + END)


def test_global_records_hold_until_they_are_taken_away() -> None:
    data = (
        pax((b"gid", b"7"), (b"SCHILY.xattr.user.g", b"1"), flag=b"g")
        + header(b"a")
        + pax((b"gid", b"9"))
        + header(b"b")
        + pax((b"gid", b""))
        + header(b"c", gid=3)
        + header(b"d")
        + pax((b"gid", b""), flag=b"g")
        + header(b"e", gid=4)
        + END
    )
    found = entries(data)
    assert [entry.gid for entry in found] == [7, 9, 3, 7, 4]
    assert all(entry.xattrs == {b"user.g": b"1"} for entry in found)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"5 a=",
        b"0 a=b\n",
        b"6 a=bc\n",
        b"99 a=b\n",
        b"6 =ab\n",
        b"5 ab\n",
        b"-6 a=b\n",
        b"6 a=b\n\0\0",
        b"1000000000000 a=b\n",
        b"\n",
        pax_records((b"path", b"a\0b")),
        pax_records((b"linkpath", b"\0")),
        pax_records((b"size", b"-1")),
        pax_records((b"uid", b"1.0")),
        pax_records((b"LIBARCHIVE.xattr.a", b"!!!")),
        pax_records((b"LIBARCHIVE.xattr.a%zz", b"AAAA")),
        pax_records((b"SCHILY.xattr.", b"1")),
        pax_records((b"SCHILY.xattr.a\0b", b"1")),
    ],
)
def test_malformed_pax_headers_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        events(member(b"p", data, b"x") + header(b"f") + END)


def test_hard_links_with_data() -> None:
    """PAX keeps a file's data with every link; elsewhere the size of a link means nothing."""
    with_data = pax((b"size", b"600")) + header(b"l", b"1", link=b"f") + padded(b"y" * 600)
    assert [entry.path for entry in entries(with_data + header(b"z") + END)] == [b"l", b"z"]
    without = header(b"l", b"1", link=b"f", size=600)
    assert [entry.path for entry in entries(without + header(b"z") + END)] == [b"l", b"z"]
    assert [entry.path for entry in entries(without + END)] == [b"l"]
    assert [entry.path for entry in entries(without)] == [b"l"]


def test_old_gnu_sparse_files() -> None:
    stored = b"A" * 512 + b"B" * 3
    pieces = [(1024, 512), (8192, 3), (10_000, 0)]
    block = bytearray(header(b"s", b"S", size=len(stored), dialect="gnu"))
    for index, (offset, length) in enumerate(pieces):
        block[386 + index * 24 : 410 + index * 24] = b"%011o\0%011o\0" % (offset, length)
    block[483:495] = b"%011o\0" % 10_000
    found = only(sign(bytes(block)) + padded(stored))
    assert found.size == 10_000
    assert found.segments == (Segment(1024, 512, 512), Segment(8192, 3, 1024))


def test_pax_sparse_files_with_another_name() -> None:
    records = pax(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"real"),
        (b"GNU.sparse.realsize", b"5000"),
    )
    body = padded(b"1\n4096\n4\n") + b"data"
    found = only(records + header(b"GNUSparseFile.0/real", size=len(body)) + padded(body))
    assert (found.path, found.size) == (b"real", 5000)
    assert found.segments == (Segment(4096, 4, len(records) + 2 * BLOCK),)


@pytest.mark.parametrize(
    "pieces",
    [
        b"0,5,3,5",
        b"5,5,0,5",
        b"0,20",
        b"0,5",
        b"0,5,6",
        b"0,5,6,x",
        b"",
        b"0,10,99999999999999999999,0",
    ],
)
def test_wrong_sparse_maps_are_refused(pieces: bytes) -> None:
    records = pax((b"GNU.sparse.size", b"15"), (b"GNU.sparse.map", pieces or b","))
    with pytest.raises(Corrupt):
        events(records + member(b"f", b"x" * 10) + END)


def test_an_unknown_sparse_format_is_named() -> None:
    records = pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.realsize", b"15"))
    with pytest.raises(Unsupported, match=r"sparse format 2\.0"):
        events(records + member(b"f", b"x") + END)


@pytest.mark.parametrize("flag", [b"D", b"V", b"M", b"N", b"A", b"Z", b"8", b"\xff", b"\n"])
def test_unknown_types_are_named(flag: bytes) -> None:
    with pytest.raises(Unsupported, match="'bad"):
        events(header(b"bad", flag) + END)


def test_what_follows_the_end_is_ignored() -> None:
    assert len(events(header(b"a") + END + b"garbage" * 100 + header(b"b"))) == 1


def test_a_missing_end_is_tolerated() -> None:
    assert len(events(header(b"a"))) == 1
    assert len(events(header(b"a") + bytes(BLOCK))) == 1
    assert len(events(header(b"a") + bytes(100))) == 1
    assert only(header(b"a", size=3) + b"abc").size == 3
    (entry,) = entries(header(b"a", size=3) + b"abc")
    assert entry.size == 3


@pytest.mark.parametrize(
    "data",
    [
        header(b"a")[:511],
        header(b"a", size=3) + b"ab",
        header(b"a", size=100_000) + bytes(99_999),
        header(b"a", size=base256(2**62, 12)) + bytes(4096),
        header(b"a") + bytes(BLOCK) + header(b"b") + END,
        header(b"p", b"x", size=20) + b"20 path=",
        pax((b"path", b"x")) + END,
        pax((b"path", b"x")),
    ],
)
def test_truncated_tars_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        list(read_layer(io.BytesIO(data)))
    with pytest.raises(Corrupt):
        list(read_layer(pipe(data)))


def test_positions_count_from_where_the_stream_stood() -> None:
    stream = io.BytesIO(b"before" + member(b"f", b"abc") + END)
    stream.seek(6)
    (entry,) = read_layer(stream)
    assert isinstance(entry, Entry)
    assert entry.position == BLOCK


def test_messages_name_the_entry_and_its_byte() -> None:
    with pytest.raises(
        Corrupt, match=r"^tar header at byte 512: '\.\./\\x1b': path .* climbs out of the root$"
    ):
        events(header(b"ok") + header(b"../\x1b") + END)
