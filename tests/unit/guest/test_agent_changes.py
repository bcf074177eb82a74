"""The layer that the agent makes of an overlay's writable folder, here one of the host's, as our reader of layers reads it."""

import io
import os
from pathlib import Path

import pytest

from monocore_core.errors import GuestError
from monocore_core.guest.client import Guest
from monocore_core.guest.wire import Kind, put
from monocore_core.layertar import Entry, EntryKind, LayerEvent, Opaque, Whiteout, read_layer

pytestmark = pytest.mark.root
ODD = os.fsdecode(b"odd \xff\n")
LONG = "n" * 200


async def changes(guest: Guest, folder: Path) -> list[LayerEvent]:
    body = put(1, str(folder))  # the agent takes a folder's name in tests alone
    data = b"".join([part async for part in guest._stream(Kind.READ_CHANGES, body)])  # pyright: ignore[reportPrivateUsage]
    return list(read_layer(io.BytesIO(data)))


async def test_everything_that_a_layer_holds(guest: Guest, tmp_path: Path) -> None:
    top = tmp_path / "upper"
    (top / "folder/below" / LONG / LONG).mkdir(parents=True)
    (top / "folder/file").write_bytes(b"content")
    os.chown(top / "folder/file", 3_000_000, 1000)
    (top / "folder/file").chmod(0o4755)
    os.utime(top / "folder/file", ns=(0, 1_600_000_000_123_456_789))
    os.setxattr(top / "folder/file", "user.mine", b"a\0b")
    os.setxattr(
        top / "folder/file", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
    )
    os.link(top / "folder/file", top / "zz-hard")
    (top / ODD).symlink_to("../elsewhere")
    os.link(top / ODD, top / "folder/link", follow_symlinks=False)
    os.mkfifo(top / "pipe")
    os.mknod(top / "device", 0o20600, os.makedev(5, 1))
    os.mknod(top / "folder/gone", 0o20000, 0)
    (top / "anew").mkdir()
    os.setxattr(top / "anew", "trusted.overlay.opaque", b"y")
    os.setxattr(top / "anew", "trusted.overlay.origin", b"of overlayfs alone")
    (top / "etc").mkdir()
    for own in ("hosts", "hostname"):
        (top / "etc" / own).write_text("every sandbox has its own")
    os.mknod(top / "etc/resolv.conf", 0o20000, 0)
    (top / "etc/kept").write_text("kept")
    found = await changes(guest, top)
    entries = {one.path: one for one in found if isinstance(one, Entry)}
    assert {one.path for one in found if isinstance(one, Whiteout)} == {b"folder/gone"}
    assert [one.path for one in found if isinstance(one, Opaque)] == [b"anew"]
    assert set(entries) == {
        b"",
        b"folder",
        b"folder/below",
        b"/".join((b"folder/below", LONG.encode())),
        b"/".join((b"folder/below", LONG.encode(), LONG.encode())),
        b"folder/file",
        b"folder/link",
        b"zz-hard",
        os.fsencode(ODD),
        b"pipe",
        b"device",
        b"anew",
        b"etc",
        b"etc/kept",
    }
    names = [entries[b"folder/file"], entries[b"zz-hard"]]
    file = next(one for one in names if one.kind is EntryKind.FILE)
    other = next(one for one in names if one.kind is EntryKind.HARDLINK)
    assert other.link == file.path
    assert (file.size, file.mode, file.uid, file.gid) == (7, 0o4755, 3_000_000, 1000)
    assert file.mtime_ns == 1_600_000_000_123_456_789
    assert set(file.xattrs) == {b"user.mine", b"security.capability"}
    assert file.xattrs[b"user.mine"] == b"a\0b"
    links = {entries[os.fsencode(ODD)].kind, entries[b"folder/link"].kind}
    assert links == {EntryKind.SYMLINK, EntryKind.HARDLINK}
    assert entries[b"device"].device == (5, 1)
    assert entries[b"pipe"].kind is EntryKind.FIFO
    assert not entries[b"anew"].xattrs
    order = [one.path for one in found]
    assert order.index(b"folder") < order.index(b"folder/below")


async def test_many_files_with_several_names(guest: Guest, tmp_path: Path) -> None:
    top = tmp_path / "upper"
    top.mkdir()
    for number in range(700):
        (top / f"{number}a").write_bytes(b"%d" % number)
        os.link(top / f"{number}a", top / f"{number}b")
    found = [one for one in await changes(guest, top) if isinstance(one, Entry) and one.path]
    kinds = [one.kind for one in found]
    assert (kinds.count(EntryKind.FILE), kinds.count(EntryKind.HARDLINK)) == (700, 700)
    for one in found:
        if one.kind is EntryKind.HARDLINK:
            assert one.link[:-1] == one.path[:-1]


@pytest.mark.parametrize("attribute", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
async def test_what_refers_to_the_image_is_refused(guest: Guest, tmp_path: Path, attribute: str) -> None:
    (tmp_path / "upper/moved").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/moved", attribute, b"/elsewhere")
    with pytest.raises(GuestError, match=r"\./moved' is what a layer cannot hold"):
        await changes(guest, tmp_path / "upper")


async def test_a_name_that_would_be_a_removal_is_refused(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/.wh.passwd").touch()
    with pytest.raises(GuestError, match="removals"):
        await changes(guest, tmp_path / "upper")


async def test_deep_folders_are_refused(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "upper").joinpath(*["d"] * 210).mkdir(parents=True)
    with pytest.raises(GuestError, match="nested too deeply"):
        await changes(guest, tmp_path / "upper")
