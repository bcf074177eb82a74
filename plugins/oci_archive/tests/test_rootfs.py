"""Root file systems: a folder as a tar that says of every file what the folder says, and the same tar each time."""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
import subprocess
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from monocore_oci_archive import ArchiveOptions
from monocore_oci_archive.pack import Packer
from monocore_oci_archive.stopping import Stop
from monocore_oci_archive.tree import Walk, open_folder

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, StorageError, Unsupported
from monocore_core.interfaces.image_source import ImageArchive
from monocore_core.layertar import Entry, EntryKind, read_layer
from monocore_core.model.digest import Digest
from monocore_core.model.events import Warned
from monocore_core.model.oci import Platform
from monocore_core.ocidoc import parse_config
from monocore_core.reference import Reference
from monocore_core.testing.archives import tar_of
from monocore_core.testing.sources import SourceOpener, read_blob

Open = SourceOpener[ArchiveOptions]
AMD64, ARM = Platform("linux", "amd64"), Platform("linux", "arm", "v7")


def at(path: object) -> Reference:
    return Reference("", str(path), scheme="rootfs")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file of every kind that an ordinary user can make."""
    root = tmp_path / "root:fs"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_bytes(b"hello\n")
    (root / "bin").mkdir()
    (root / "bin" / "tool").write_bytes(os.urandom(3 << 20))
    (root / "bin" / "tool").chmod(0o4755)
    os.link(root / "bin" / "tool", root / "bin" / "zool")
    (root / "empty").mkdir(mode=0o700)
    (root / "link").symlink_to("/etc/motd")
    (root / ("n" * 120 + "é")).write_bytes(bytes(5 << 20))
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    os.mkfifo(root / "fifo")
    os.utime(root / "etc" / "motd", ns=(1, 1_600_000_000_123_456_789))
    return root


async def layer_of(opener: Open, place: Path, platform: Platform = AMD64) -> bytes:
    async with opener() as source:
        found = await source.resolve(at(place), platform)
        (descriptor,) = found.manifest.layers
        data = await read_blob(source, found, descriptor)
        assert (Digest.of(data), len(data)) == (descriptor.digest, descriptor.size)
        config = parse_config(await read_blob(source, found, found.manifest.config))
        assert (config.platform, config.diff_ids) == (platform, (descriptor.digest,))
        return data


@contextmanager
def socket_in(folder: Path) -> Generator[None]:
    """A socket's name, by a short path, since theirs may have 107 bytes only."""
    with socket.socket(socket.AF_UNIX) as listener:
        fd = os.open(folder, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{fd}/socket")
        finally:
            os.close(fd)
        yield


def files_below(root: Path) -> dict[bytes, Path]:
    return {os.fsencode(each.relative_to(root)): each for each in root.rglob("*")}


async def test_a_folder_becomes_a_layer(root: Path, opener: Open) -> None:
    with socket_in(root):
        data = await layer_of(opener, root)
    found = {event.path: event for event in read_layer(io.BytesIO(data)) if isinstance(event, Entry)}
    files = files_below(root)
    assert found.keys() == files.keys() - {b"socket"} | {b""}
    for name, entry in found.items():
        status = (root / os.fsdecode(name)).lstat()
        assert entry.mtime_ns == status.st_mtime_ns // 10**9 * 10**9
        assert (entry.uid, entry.gid) == ((status.st_uid, status.st_gid) if os.geteuid() == 0 else (0, 0))
        assert entry.mode == stat.S_IMODE(status.st_mode)
        if entry.kind is EntryKind.FILE:
            assert data[entry.position : entry.position + entry.size] == files[name].read_bytes()
    assert (found[b"bin/zool"].kind, found[b"bin/zool"].link) == (EntryKind.HARDLINK, b"bin/tool")
    assert (found[b"link"].kind, found[b"link"].link) == (EntryKind.SYMLINK, b"/etc/motd")
    assert found[b"fifo"].kind is EntryKind.FIFO
    assert await layer_of(opener, root, ARM) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert len(archive.getmembers()) == len(found)


async def test_attributes_go_along(root: Path, opener: Open) -> None:
    try:
        os.setxattr(root / "etc" / "motd", "user.note", b"\xff=\n\0x")
        os.setxattr(root / "etc" / "motd", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"no user attributes in {root}: {error.strerror}")
    events = read_layer(io.BytesIO(await layer_of(opener, root)))
    (entry,) = [event for event in events if isinstance(event, Entry) and event.path == b"etc/motd"]
    assert entry.xattrs == {b"user.note": b"\xff=\n\0x"}


async def test_a_folder_that_has_not_changed_is_not_packed_again(
    root: Path, opener: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monocore_oci_archive.tree.settled", bool)
    packed: list[str] = []
    pack = Packer.pack

    def counted(self: Packer) -> tuple[int, int, Digest]:
        packed.append(self.path)
        return pack(self)

    monkeypatch.setattr(Packer, "pack", counted)
    async with opener() as source:
        first = await source.resolve(at(root), AMD64)
    async with opener() as source:
        again = await source.resolve(at(root), AMD64)
    assert (again, len(packed)) == (first, 1)
    (root / "etc" / "motd").write_bytes(b"other\n")
    async with opener() as source:
        other = await source.resolve(at(root), AMD64)
        assert other.digest != first.digest
        assert len(packed) == 2
        with pytest.raises(Corrupt, match="has changed since"):
            await read_blob(source, first, first.manifest.layers[0])


async def test_a_record_is_enough_until_bytes_are_asked_for(
    root: Path, opener: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monocore_oci_archive.tree.settled", bool)
    expected = await layer_of(opener, root)
    assert list((opener.folder / "resolved").iterdir())
    assert await layer_of(opener, root) == expected


async def test_what_changed_a_moment_ago_is_not_remembered(root: Path, opener: Open) -> None:
    (root / "new").write_bytes(b"")
    await layer_of(opener, root)
    assert not (opener.folder / "resolved").exists()


async def test_a_tar_is_taken_as_it_is(tmp_path: Path, opener: Open) -> None:
    tar = tar_of({"etc/motd": b"hello\n"})
    (tmp_path / "root.tar").write_bytes(tar)
    (tmp_path / "root.tgz").write_bytes(gzip.compress(tar))
    assert await layer_of(opener, tmp_path / "root.tar") == tar
    assert await layer_of(opener, tmp_path / "root.tgz") == tar
    async with opener() as source:
        assert isinstance(source, ImageArchive)
        (held,) = await source.held(at(tmp_path / "root.tar"))
        assert (held.reference, held.names) == (at(tmp_path / "root.tar"), ())


async def test_what_cannot_be_packed(tmp_path: Path, root: Path, opener: Open) -> None:
    (tmp_path / "words").write_bytes(b"no tar at all\n" * 99)
    (tmp_path / "zeros").write_bytes(bytes(10240))
    for name, kind, words in (
        ("words", Corrupt, "is no tar archive"),
        ("zeros", InvalidInput, "nothing in it"),
        ("nowhere", NotFound, "there is no "),
    ):
        async with opener() as source:
            with pytest.raises(kind, match=words):
                await source.resolve(at(tmp_path / name), AMD64)
    for options, words in (
        (ArchiveOptions(max_files=5), "more than 5 files"),
        (ArchiveOptions(max_archive=1 << 20), "1048576 bytes"),
    ):
        async with opener(options) as source:
            with pytest.raises(LimitExceeded, match=words):
                await source.resolve(at(root), AMD64)
    (root / "etc" / ".wh.motd").write_bytes(b"")
    async with opener() as source:
        with pytest.raises(Unsupported, match=r"\.wh\.motd cannot be in an image"):
            await source.resolve(at(root), AMD64)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_named(root: Path, opener: Open) -> None:
    (root / "etc" / "motd").chmod(0)
    async with opener() as source:
        with pytest.raises(StorageError, match="etc/motd: Permission denied"):
            await source.resolve(at(root), AMD64)


@pytest.mark.root
@pytest.mark.needs("mount", "mount")
async def test_devices_go_along_and_other_file_systems_do_not(root: Path, opener: Open) -> None:
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with tmpfs(root / "empty"):
        (root / "empty" / "file").write_bytes(b"")
        data = await layer_of(opener, root)
    found = {event.path: event for event in read_layer(io.BytesIO(data)) if isinstance(event, Entry)}
    assert (found[b"null"].kind, found[b"null"].device) == (EntryKind.CHARACTER, (1, 3))
    assert b"empty" in found
    assert b"empty/file" not in found
    assert Warned(f"{root}/empty is another file system: what is in it was left out") in opener.events


@contextmanager
def tmpfs(folder: Path) -> Generator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "none", os.fspath(folder)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", os.fspath(folder)], check=True, timeout=30)


def test_a_symlink_in_the_place_of_a_folder_leads_nowhere(tmp_path: Path, root: Path) -> None:
    """Whoever may write below the folder swaps one for a link while it is walked."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"secret")
    stop = Stop()
    seen: list[bytes] = []

    def walk(fd: int) -> None:
        for node in Walk(str(root), fd, 1000, stop).nodes():
            seen.append(node.path)
            if node.path == b"etc":
                (root / "etc" / "motd").unlink()
                (root / "etc").rmdir()
                (root / "etc").symlink_to(tmp_path / "secret")

    with open_folder(str(root)) as fd, pytest.raises(NotFound, match="etc"):
        walk(fd)
    stop.close()
    assert b"etc" in seen
    assert not [path for path in seen if b"key" in path]
