"""The reader against others: Python's tarfile and GNU tar."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.layertar import Entry, EntryKind, read_layer

_KINDS: Mapping[bytes, EntryKind] = {
    tarfile.REGTYPE: EntryKind.FILE,
    tarfile.DIRTYPE: EntryKind.DIRECTORY,
    tarfile.SYMTYPE: EntryKind.SYMLINK,
    tarfile.LNKTYPE: EntryKind.HARDLINK,
    tarfile.CHRTYPE: EntryKind.CHARACTER,
    tarfile.BLKTYPE: EntryKind.BLOCK,
    tarfile.FIFOTYPE: EntryKind.FIFO,
}


@frozen
class Wanted:
    """An entry before it was written."""

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    data: bytes
    link: str
    device: tuple[int, int]


_CHARACTERS = st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"])
_SURROGATES = st.sampled_from(["\udcff", "\udc80"])
_PARTS = st.text(_CHARACTERS | _SURROGATES, min_size=1, max_size=30).filter(
    lambda part: part not in {".", ".."} and not part.startswith(".wh.")
)
_PATHS = st.lists(_PARTS, min_size=1, max_size=6).map("/".join)


def wanted(highest: int, earliest: int) -> st.SearchStrategy[Wanted]:
    return st.builds(
        Wanted,
        name=_PATHS,
        kind=st.sampled_from(sorted(_KINDS)),
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, highest),
        gid=st.integers(0, highest),
        mtime=st.integers(earliest, 8**11 - 1),
        data=st.binary(max_size=1100),
        link=_PATHS,
        device=st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)),
    )


def written(members: list[Wanted], dialect: int) -> tuple[bytes, list[Wanted]]:
    """The archive, and those members that the dialect can hold."""
    buffer = io.BytesIO()
    held: list[Wanted] = []
    with tarfile.open(
        fileobj=buffer, mode="w", format=dialect, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type = member.kind
            info.mode, info.uid, info.gid, info.mtime = member.mode, member.uid, member.gid, member.mtime
            info.devmajor, info.devminor = member.device
            if member.kind in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
                info.linkname = member.link
            if member.kind == tarfile.REGTYPE:
                info.size = len(member.data)
            try:
                tar.addfile(info, io.BytesIO(member.data))
            except ValueError:
                continue  # ustar has no room for it
            held.append(member)
    return buffer.getvalue(), held


def compare(data: bytes, members: list[Wanted]) -> None:
    found = list(read_layer(io.BytesIO(data)))
    assert len(found) == len(members)
    for entry, member in zip(found, members, strict=True):
        assert isinstance(entry, Entry)
        assert entry.path == os.fsencode(member.name)
        assert entry.kind is _KINDS[member.kind]
        assert (entry.mode, entry.uid, entry.gid) == (member.mode, member.uid, member.gid)
        assert entry.mtime_ns == member.mtime * 10**9
        if entry.kind is EntryKind.FILE:
            assert data[entry.position :][: entry.size] == member.data
            assert entry.position % 512 == 0
        else:
            assert entry.size == 0
        linked = entry.kind in {EntryKind.SYMLINK, EntryKind.HARDLINK}
        assert entry.link == (os.fsencode(member.link) if linked else b"")
        assert entry.device == (
            member.device if entry.kind in {EntryKind.CHARACTER, EntryKind.BLOCK} else (0, 0)
        )


@settings(max_examples=60, deadline=None)
@given(st.lists(wanted(8**7 - 1, 0), max_size=6))
def test_ustar_by_tarfile(members: list[Wanted]) -> None:
    compare(*written(members, tarfile.USTAR_FORMAT))


@settings(max_examples=60, deadline=None)
@given(st.lists(wanted(2**32 - 1, -(2**40)), max_size=6))
def test_gnu_by_tarfile(members: list[Wanted]) -> None:
    compare(*written(members, tarfile.GNU_FORMAT))


@settings(max_examples=60, deadline=None)
@given(st.lists(wanted(2**32 - 1, -(2**40)), max_size=6))
def test_pax_by_tarfile(members: list[Wanted]) -> None:
    compare(*written(members, tarfile.PAX_FORMAT))


def gnu_tar(folder: Path, *options: str) -> bytes:
    command = ["tar", "--create", "--file=-", *options, "--directory", str(folder), "."]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with one of everything that an ordinary user can make."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "file").write_bytes(b"hello")
    (folder / "empty").touch()
    (folder / "dir").mkdir(mode=0o2750)
    (folder / "dir" / ("n" * 200)).write_bytes(b"long name" * 100)
    (folder / "link").symlink_to("../x" * 60)
    os.link(folder / "file", folder / "dir" / "hard")
    os.mkfifo(folder / "fifo")
    os.utime(folder / "file", ns=(0, 1_600_000_000_123_456_789))
    return folder


def content(data: bytes, entry: Entry) -> bytes:
    """A file's bytes, put together from the tar."""
    if entry.segments is None:
        return data[entry.position : entry.position + entry.size]
    whole = bytearray(entry.size)
    for segment in entry.segments:
        piece = data[segment.position : segment.position + segment.length]
        whole[segment.offset : segment.offset + segment.length] = piece
    return bytes(whole)


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=pax"], ["--format=oldgnu"]])
def test_gnu_tar_of_a_tree(tree: Path, options: list[str]) -> None:
    data = gnu_tar(tree, *options)
    archive = tree.parent / "tree.tar"
    archive.write_bytes(data)
    with archive.open("rb") as file:  # a file of the host is read in another way than other streams
        assert list(read_layer(file)) == list(read_layer(io.BytesIO(data)))
    found = {event.path: event for event in read_layer(io.BytesIO(data)) if isinstance(event, Entry)}
    names = {os.fsencode(path.relative_to(tree)) for path in tree.rglob("*")}
    assert set(found) == names | {b""}
    for path in tree.rglob("*"):
        entry, status = found[os.fsencode(path.relative_to(tree))], path.lstat()
        assert (entry.uid, entry.gid, entry.mode) == (status.st_uid, status.st_gid, status.st_mode & 0o7777)
        exact = "--format=pax" in options
        assert entry.mtime_ns == (status.st_mtime_ns if exact else status.st_mtime_ns // 10**9 * 10**9)
        if entry.kind is EntryKind.FILE:
            assert content(data, entry) == path.read_bytes()
    assert found[b"link"].link == os.fsencode("../x" * 60)
    pair = {found[b"file"].kind, found[b"dir/hard"].kind}
    assert pair == {EntryKind.FILE, EntryKind.HARDLINK}
    assert found[b"fifo"].kind is EntryKind.FIFO


def hollow(path: Path, pieces: int) -> None:
    """A sparse file with that many pieces of data, ending in a hole."""
    with path.open("wb") as file:
        for index in range(pieces):
            file.seek((2 * index + 1) * 16384)
            file.write(b"%d" % index * 700)
        file.truncate((2 * pieces + 1) * 16384)


@pytest.mark.parametrize("pieces", [0, 1, 4, 5, 30, 60])
@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
def test_gnu_tar_of_sparse_files(tmp_path: Path, options: list[str], pieces: int) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    hollow(folder / "hollow", pieces)
    (folder / "next").write_bytes(b"what follows is found")
    data = gnu_tar(folder, "--sparse", "--hole-detection=raw", "--sort=name", *options)
    archive = tmp_path / "tree.tar"
    archive.write_bytes(data)
    with archive.open("rb") as file:
        entries = [event for event in read_layer(file) if isinstance(event, Entry)]
    assert entries == list(read_layer(io.BytesIO(data)))
    assert [entry.path for entry in entries] == [b"", b"hollow", b"next"]
    assert entries[1].segments is not None
    assert len(entries[1].segments) >= pieces
    assert content(data, entries[1]) == (folder / "hollow").read_bytes()
    assert content(data, entries[2]) == b"what follows is found"
    assert len(data) < entries[1].size + 20_480


def test_gnu_tar_of_extended_attributes(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "file").write_bytes(b"x")
    value = bytes(range(256))
    try:
        os.setxattr(folder / "file", "user.mono", value)
    except OSError as error:
        pytest.skip(f"the file system of {tmp_path} has no user attributes: {error.strerror}")
    data = gnu_tar(folder, "--xattrs", "--format=pax")
    found = {event.path: event for event in read_layer(io.BytesIO(data)) if isinstance(event, Entry)}
    assert found[b"file"].xattrs == {b"user.mono": value}
    assert found[b""].xattrs == {}
