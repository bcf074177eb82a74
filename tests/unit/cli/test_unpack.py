"""An archive that a hostile guest made writes nothing outside of the destination; an honest one is unpacked by Docker's rules."""

from __future__ import annotations

import contextlib
import io
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.cli.unpack import MAX_DEPTH, Unpacking, unpack
from monocore_core.errors import Conflict, Corrupt, LimitExceeded, MonocoreError, NotFound, StorageError

Entry = tuple[tarfile.TarInfo, bytes]


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", mode: int = 0o644, linkname: str = ""
) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(content), 1000
    info.mode, info.linkname, info.devmajor, info.devminor = mode, linkname, 1, 3
    return info, content


def folder(name: str, mode: int = 0o755) -> Entry:
    return entry(name, tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return entry(name, kind, linkname=target)


def tar(*entries: Entry) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    made.seek(0)
    return made


def into(destination: Path | str, *entries: Entry, content: bool = False, archive: bool = False) -> None:
    unpack(tar(*entries), Unpacking(str(destination), content=content, archive=archive, label="box:/x"))


def test_dockers_rules(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    tree = (folder("a"), entry("a/f", content=b"1"), folder("a/b"), entry("a/b/g", content=b"2"))
    into(tmp_path / "there", *tree)
    assert (tmp_path / "there/a/b/g").read_bytes() == b"2"
    into(tmp_path / "there", *tree, content=True)
    assert (tmp_path / "there/b/g").read_bytes() == b"2"
    into(tmp_path / "new", *tree)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["b", "f"]
    into(tmp_path / "there", entry("f", content=b"3"))
    into(tmp_path / "called", entry("f", content=b"4"))
    assert ((tmp_path / "there/f").read_bytes(), (tmp_path / "called").read_bytes()) == (b"3", b"4")
    with pytest.raises(NotFound):
        into(f"{tmp_path}/nowhere/", entry("f"))
    with pytest.raises(Conflict):
        into(tmp_path / "called", *tree)


def test_modes_times_and_links(tmp_path: Path) -> None:
    into(
        tmp_path / "new",
        folder("a"),
        folder("a/locked", mode=0o500),
        entry("a/locked/f", content=b"x", mode=0o6755),
        link("a/l", "/etc/passwd"),
        link("a/h", "a/locked/f", tarfile.LNKTYPE),
    )
    file = tmp_path / "new/locked/f"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755  # no set-ID bits unless they are asked for
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o500
    assert file.stat().st_mtime == 1000
    assert (tmp_path / "new/l").readlink() == Path("/etc/passwd")
    assert (tmp_path / "new/h").samefile(file)
    file.parent.chmod(0o700)
    into(tmp_path / "kept", entry("f", mode=0o6755), archive=True)
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o6755


ATTACKS = {
    "up": (folder("a"), entry("a/../../out", content=b"!")),
    "absolute": (folder("a"), entry("/out", content=b"!")),
    "elsewhere": (folder("a"), entry("b/out", content=b"!")),
    "through a link": (folder("a"), link("a/l", "../outside"), entry("a/l/out", content=b"!")),
    "through an absolute link": (folder("a"), link("a/l", "OUTSIDE"), entry("a/l/out", content=b"!")),
    "a folder over a link": (
        folder("a"),
        link("a/l", "OUTSIDE"),
        folder("a/l", mode=0o777),
        entry("a/l/out"),
    ),
    "a hard link to outside": (folder("a"), link("a/h", "a/../../outside/secret", tarfile.LNKTYPE)),
    "a hard link to an absolute path": (folder("a"), link("a/h", "OUTSIDE/secret", tarfile.LNKTYPE)),
    "a hard link through a link": (
        folder("a"),
        link("a/l", "OUTSIDE"),
        link("a/h", "a/l/secret", tarfile.LNKTYPE),
    ),
    "a hard link to a link": (
        folder("a"),
        link("a/l", "OUTSIDE/secret"),
        link("a/h", "a/l", tarfile.LNKTYPE),
        entry("a/h", content=b"!"),
    ),
    "a hard link to nothing": (folder("a"), link("a", "a", tarfile.LNKTYPE)),
    "too deep": (folder("a"), entry("a" + "/d" * MAX_DEPTH)),
    "only up": (entry("..", content=b"!"),),
    "a folder that became a link": (
        folder("a"),
        folder("a/d"),
        link("a/d", "OUTSIDE"),
        entry("a/d/out", content=b"!"),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_and_write_nothing_outside(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "secret").write_text("kept")
    entries = [
        link(info.name, info.linkname.replace("OUTSIDE", str(outside)), info.type)
        if info.linkname
        else (info, content)
        for info, content in ATTACKS[name]
    ]
    (tmp_path / "there").mkdir()
    with pytest.raises((Corrupt, StorageError)):
        into(tmp_path / "there", *entries)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "there"]
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "kept"
    assert (outside / "secret").stat().st_nlink == 1
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700


def test_a_file_replaces_a_link_and_is_not_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/f").symlink_to(tmp_path / "secret")
    into(tmp_path / "there", entry("f", content=b"new"))
    assert (tmp_path / "secret").read_text() == "kept"
    assert (tmp_path / "there/f").read_text() == "new"
    assert not (tmp_path / "there/f").is_symlink()


def test_devices_and_pipes_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into(
        tmp_path / "new",
        folder("a"),
        entry("a/null\x1b[31m", tarfile.CHRTYPE),
        entry("a/p", tarfile.FIFOTYPE),
        entry("a/f"),
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["f"]
    said = capsys.readouterr().err
    assert said.count("left out") == 2
    assert "\x1b" not in said


@given(st.binary(max_size=2000), st.integers(0, 2048))
def test_archives_that_are_broken(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    target = tmp_path_factory.mktemp("noise")
    good = tar(folder("a"), entry("a/f", content=b"x" * 700)).getvalue()
    for data in (noise, good[:at], good[:at] + noise + good[at + len(noise) :]):
        with contextlib.suppress(MonocoreError):
            unpack(io.BytesIO(data), Unpacking(str(target), content=False, archive=False, label="x"))


def described(kind: bytes, size: int) -> bytes:
    """A header that says something of the entry after it, in so many bytes."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(words: dict[str, str], kind: bytes = tarfile.REGTYPE) -> bytes:
    """An entry with an extended header of these words."""
    info, _ = entry("a/f", kind)
    info.pax_headers = words
    return info.tobuf(tarfile.PAX_FORMAT)


HEADERS = {
    "a time without end": pax({"mtime": "inf"}),
    "no time": pax({"mtime": "nan"}),
    "a link to a NUL": pax({"linkpath": "a\0b"}, tarfile.SYMTYPE),
    "a sparse map of words": pax({"GNU.sparse.map": "1,2,x", "GNU.sparse.size": "5"}),
    "more zeros than any disk has": pax({"GNU.sparse.map": "0,0", "GNU.sparse.size": "9" * 18}),
    "names of names without end": (described(tarfile.GNUTYPE_LONGNAME, 4) + b"abc\0".ljust(512, b"\0"))
    * 5000,
    "a name of gigabytes": described(tarfile.GNUTYPE_LONGNAME, 8 << 30) + bytes(2 << 20),
    "words of gigabytes": described(tarfile.XHDTYPE, 8 << 30) + bytes(2 << 20),
    "words for every entry": tarfile.TarInfo.create_pax_global_header({"a": "b"}) + pax({}),
    "a kind that is none": described(b"!", 0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_no_agent_writes(name: str, tmp_path: Path) -> None:
    archive = folder("a")[0].tobuf() + HEADERS[name] + bytes(1024)
    with pytest.raises((Corrupt, LimitExceeded)):
        unpack(io.BytesIO(archive), Unpacking(str(tmp_path), content=False, archive=False, label="box:/x"))
