"""``cp``: which path is a sandbox's, and where a copy goes; the archive of what is copied."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from monocore_core.cli.cp import FILE, FOLDER, NOTHING, Pieces, plan_in, split_place
from monocore_core.cli.pack import pack
from monocore_core.errors import Conflict, NotFound, StorageError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("box:/etc", ("box", "/etc")),
        ("box:a:b", ("box", "a:b")),
        ("box:", ("box", "")),
        ("/a:b", (None, "/a:b")),
        ("./a:b", (None, "./a:b")),
        (":x", (None, ":x")),
        ("-", (None, "-")),
        ("plain", (None, "plain")),
    ],
)
def test_whose_a_path_is(text: str, found: tuple[str | None, str]) -> None:
    assert split_place(text) == found


@pytest.mark.parametrize(
    ("kind", "path", "folder", "content", "into"),
    [
        (FOLDER, "/d", True, False, ("/d", "src")),
        (FOLDER, "/d/", True, True, ("/d", "")),
        (FOLDER, "/d", False, False, ("/d", "src")),
        (FOLDER, "/", False, False, ("/", "src")),
        (NOTHING, "/new", True, False, ("/new", "")),
        (NOTHING, "/d/new", False, False, ("/d", "new")),
        (FILE, "/d/old", False, False, ("/d", "old")),
    ],
)
def test_where_it_goes(kind: str, path: str, folder: bool, content: bool, into: tuple[str, str]) -> None:
    assert plan_in(kind, path, "src", folder=folder, content=content) == into


def test_what_cannot_be() -> None:
    with pytest.raises(Conflict):
        plan_in(FILE, "/f", "src", folder=True, content=False)
    with pytest.raises(NotFound):
        plan_in(NOTHING, "/d/", "src", folder=False, content=False)


def test_pieces_are_a_file() -> None:
    pieces = Pieces(iter([b"abc", b"d", b"efgh"]))
    assert [pieces.read(2), pieces.read(3), pieces.read(), pieces.read(5)] == [b"ab", b"cde", b"fgh", b""]


def test_a_packed_folder(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d/f").write_bytes(b"x" * 1_000_000)
    (tree / "l").symlink_to("d/f")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(tree, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{here}/s")
        os.close(here)
        packed = b"".join(pack(str(tree), "called"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert sorted(archive.getnames()) == ["called", "called/d", "called/d/f", "called/l"]
        assert {(one.uid, one.gid, one.uname) for one in archive} == {(0, 0, "")}
        content = archive.extractfile("called/d/f")
        assert content is not None
        assert content.read() == b"x" * 1_000_000
        assert archive.getmember("called/l").linkname == "d/f"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none"):
        list(pack(str(tmp_path / "none"), "x"))


def test_nobody_takes_the_rest_of_an_archive(tmp_path: Path) -> None:
    """The daemon has refused it: who packs ends, too."""
    (tmp_path / "f").write_bytes(b"y" * 3_000_000)
    pieces = pack(str(tmp_path / "f"), "f")
    assert next(iter(pieces))
    del pieces
