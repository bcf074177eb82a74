"""A sandbox's tar is not believed, and a failure leaves nothing."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from monocore_core.client.sdk import tars
from monocore_core.errors import Corrupt, NotFound, StorageError


def tar(*members: tuple[str, bytes, str]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o755
            made.addfile(info)
    stream.seek(0)
    return stream


def test_a_folder_goes_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "a" / "sub" / "é").write_text("x")
    (tmp_path / "a" / "link").symlink_to("sub/é")
    stream = io.BytesIO()
    tars.pack(tmp_path / "a", stream)
    with tarfile.open(fileobj=stream) as packed:
        assert {(one.name, one.uid) for one in packed} == {("link", 0), ("sub", 0), ("sub/é", 0)}
    stream.seek(0)
    tars.unpack(stream, "", tmp_path / "b")
    assert (tmp_path / "b" / "link").read_text() == "x"


@pytest.mark.parametrize(
    "bad",
    [
        ("top/../../escaped", tarfile.REGTYPE, ""),
        ("top/link", tarfile.SYMTYPE, "/etc"),
        ("top/link", tarfile.SYMTYPE, "../../.."),
        ("top/hard", tarfile.LNKTYPE, "../../x"),
        ("top/device", tarfile.CHRTYPE, ""),
    ],
)
def test_what_leads_elsewhere_is_refused(bad: tuple[str, bytes, str], tmp_path: Path) -> None:
    with pytest.raises(Corrupt):
        tars.unpack(tar(("top", tarfile.DIRTYPE, ""), bad), "top", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_tar_or_lacks_the_folder(tmp_path: Path) -> None:
    for stream in (
        io.BytesIO(b"x" * 2000),
        tar(("other", tarfile.DIRTYPE, "")),
        tar(("top", tarfile.SYMTYPE, ".")),
    ):
        with pytest.raises(Corrupt):
            tars.unpack(stream, "top", tmp_path / "t")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine").touch()
    with pytest.raises(StorageError):
        tars.unpack(tar(("top", tarfile.DIRTYPE, "")), "top", tmp_path / "t")
    assert [one.name for one in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("words", [{"mtime": "inf"}, {"GNU.sparse.map": "1,x", "GNU.sparse.size": "5"}])
def test_numbers_that_are_none(words: dict[str, str], tmp_path: Path) -> None:
    info = tarfile.TarInfo("top")
    info.type, info.mode, info.pax_headers = tarfile.DIRTYPE, 0o755, words
    with pytest.raises(Corrupt):
        tars.unpack(io.BytesIO(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)), "top", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def fail() -> None:
        with tars.written_whole(tmp_path / "f") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
    with tars.written_whole(tmp_path / "f") as stream:
        stream.write(b"all")
    assert (tmp_path / "f").read_bytes() == b"all"
    with pytest.raises(NotFound):
        tars.opened(tmp_path / "no")
