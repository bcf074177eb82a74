"""Every format, through the source as a pull uses it: the right documents, the right bytes."""

from __future__ import annotations

import asyncio
import bz2
import json
import lzma
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from monocore_oci_archive import PROVIDER, ArchiveOptions, decompress
from monocore_oci_archive.inputs import file_fingerprint
from monocore_oci_archive.records import MAX_RECORDS, Records

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, StorageError, Unsupported
from monocore_core.interfaces.image_source import ImageArchive, ImageSource, ResolvedImage
from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.model.security import JailMode, Security
from monocore_core.reference import Reference
from monocore_core.testing.archives import layout_members, saved_members, tar_of
from monocore_core.testing.images import BuiltImage, build_image, build_index
from monocore_core.testing.memory import squeeze as squeezed
from monocore_core.testing.sources import SourceOpener, read_blob

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Open = SourceOpener[ArchiveOptions]
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
NAME, TAG = "io.containerd.image.name", "org.opencontainers.image.ref.name"


def at(path: object, scheme: str = "oci-archive") -> Reference:
    return Reference("", str(path), scheme=scheme)


async def check(source: ImageSource, found: ResolvedImage, image: BuiltImage) -> None:
    """Every blob is what the manifest says, and the layers are the image's."""
    assert Digest.of(found.manifest_bytes) == found.digest
    for descriptor in (found.manifest.config, *found.manifest.layers):
        data = await read_blob(source, found, descriptor)
        assert len(data) == descriptor.size
        assert Digest.of(data) == descriptor.digest
        assert await read_blob(source, found, descriptor, len(data) // 2) == data[len(data) // 2 :]
    config = json.loads(await read_blob(source, found, found.manifest.config))
    assert config["rootfs"]["diff_ids"] == [str(each) for each in image.diff_ids]


@pytest.fixture
def jailed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is compressed has a process in a jail decompress it, or nobody."""
    monkeypatch.delattr(decompress, "_by_ourselves")


@pytest.mark.needs("gcc", "gcc")
@pytest.mark.parametrize(
    "squeeze",
    [bytes, squeezed, zstd.compress, lzma.compress, bz2.compress],
    ids=["tar", "gz", "zst", "xz", "bz2"],
)
@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.usefixtures("jailed")
async def test_archives_compressed_or_not(
    tmp_path: Path, opener: Open, plain: BuiltImage, squeeze: Callable[[bytes], bytes], docker: bool
) -> None:
    members = saved_members(plain) if docker else layout_members(plain)
    path = tmp_path / "image.tar"
    path.write_bytes(squeeze(tar_of(members)))
    async with opener() as source:
        found = await source.resolve(at(path, "docker-archive" if docker else "oci-archive"), AMD64)
        await check(source, found, plain)
        if not docker:
            assert found.manifest_bytes == plain.manifest
    assert [each.name for each in opener.folder.iterdir() if each.name.startswith("spool")] == []


async def test_compressed_layers_in_a_docker_save_archive_are_hashed(
    tmp_path: Path, opener: Open, packed: BuiltImage
) -> None:
    (tmp_path / "i.tar").write_bytes(tar_of(saved_members(packed)))
    async with opener() as source:
        found = await source.resolve(at(tmp_path / "i.tar"), AMD64)
        assert [each.digest for each in found.manifest.layers] == [each.digest for each in packed.layers]
        await check(source, found, packed)


async def test_old_archives_link_layers_that_repeat(tmp_path: Path, opener: Open) -> None:
    layer = tar_of({"a": b"1"})
    image = build_image([layer, layer], compression="none")
    members = saved_members(image)
    listed = json.loads(members["manifest.json"])
    first = listed[0]["Layers"][0]
    listed[0]["Layers"] = [first, "again/layer.tar"]
    members["manifest.json"] = json.dumps(listed).encode()
    members["again/layer.tar"] = f"../{first}"
    (tmp_path / "i.tar").write_bytes(tar_of(members))
    async with opener() as source:
        await check(source, await source.resolve(at(tmp_path / "i.tar"), AMD64), image)


async def test_a_layout_folder_for_several_platforms(tmp_path: Path, opener: Open, plain: BuiltImage) -> None:
    arm = build_image([[]], platform=ARM64)
    build_index([plain, arm]).write_layout(tmp_path / "layout", "1.0")
    async with opener() as source:
        for text in ("layout", "layout:1.0", "layout:@0"):
            reference = at(tmp_path / text, "oci")
            found = await source.resolve(reference, ARM64)
            assert (found.manifest_bytes, found.platform) == (arm.manifest, ARM64)
            await check(source, found, arm)
            assert (await source.resolve(reference, AMD64)).digest == plain.digest
        assert isinstance(source, ImageArchive)
        (held,) = await source.held(at(tmp_path / "layout", "oci"))
        assert held.platforms == (AMD64, ARM64)
        with pytest.raises(NotFound, match="linux/amd64, linux/arm64"):
            await source.resolve(at(tmp_path / "layout", "oci"), Platform("linux", "s390x"))


async def test_one_of_several_by_its_name(
    tmp_path: Path, opener: Open, plain: BuiltImage, packed: BuiltImage
) -> None:
    members = saved_members(plain, "alpine:3.20", "team/app:1")
    other = saved_members(packed, "quay.io/x/y:2")
    listed = json.loads(members["manifest.json"]) + json.loads(other["manifest.json"])
    path = tmp_path / "with:colon.tar"
    path.write_bytes(tar_of({**members, **other, "manifest.json": json.dumps(listed).encode()}))
    async with opener() as source:
        for text in ("alpine:3.20", "docker.io/library/alpine:3.20", "team/app:1", "@0"):
            await check(source, await source.resolve(at(f"{path}:{text}"), AMD64), plain)
        await check(source, await source.resolve(at(f"{path}:@1"), AMD64), packed)
        with pytest.raises(InvalidInput, match="2 images") as raised:
            await source.resolve(at(path), AMD64)
        assert "alpine:3.20" in (raised.value.hint or "")
        with pytest.raises(NotFound, match="no image 'alpine'"):
            await source.resolve(at(f"{path}:alpine"), AMD64)
        with pytest.raises(InvalidInput, match="no image @2"):
            await source.resolve(at(f"{path}:@2"), AMD64)
        assert isinstance(source, ImageArchive)
        held = await source.held(at(path))
        assert [each.names for each in held] == [("alpine:3.20", "team/app:1"), ("quay.io/x/y:2",)]
        assert [each.platforms for each in held] == [(AMD64,), (AMD64,)]
        assert await source.held(at(f"{path}:team/app:1")) == held[:1]
        assert await source.held(at(f"{path}:@1")) == held[1:]
        await check(source, await source.resolve(held[1].reference, AMD64), packed)


async def test_names_of_a_layout(tmp_path: Path, opener: Open, plain: BuiltImage) -> None:
    names = {NAME: "docker.io/library/a:1", TAG: "1"}
    (tmp_path / "i.tar").write_bytes(tar_of(layout_members(plain, names, {TAG: "b:2"})))
    async with opener() as source:
        assert isinstance(source, ImageArchive)
        held = await source.held(at(tmp_path / "i.tar"))
        assert [each.names for each in held] == [("docker.io/library/a:1", "1"), ("b:2",)]
        for text in ("", ":a:1", ":1", ":b:2", ":docker.io/library/b:2"):
            assert (await source.resolve(at(f"{tmp_path}/i.tar{text}"), AMD64)).digest == plain.digest


async def test_a_pipe_is_read_once(tmp_path: Path, opener: Open, plain: BuiltImage) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = squeezed(tar_of(layout_members(plain, {TAG: "a:1"})))
    writer = threading.Thread(target=lambda: fifo.write_bytes(data))
    writer.start()
    async with opener() as source:
        assert isinstance(source, ImageArchive)
        (held,) = await source.held(at(fifo))
        await check(source, await source.resolve(held.reference, AMD64), plain)
    writer.join()


@pytest.mark.parametrize("jail", list(JailMode))
async def test_a_pipe_that_is_damaged_and_has_no_end(tmp_path: Path, opener: Open, jail: JailMode) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    written = threading.Event()

    def write() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            pipe.write(b"\x1f\x8b\x08\0" + bytes(range(200)))
            assert written.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    host = Host(opener.folder, opener.folder, opener.events.append, security=Security(jail))
    try:
        async with asyncio.timeout(60), PROVIDER.create(host, ArchiveOptions()) as source:
            with pytest.raises(Corrupt, match="gzip data is damaged"):
                await source.resolve(at(fifo), AMD64)
    finally:
        written.set()
        writer.join()


async def test_what_has_not_changed_is_not_read_again(
    tmp_path: Path, opener: Open, plain: BuiltImage
) -> None:
    path = tmp_path / "i.tar"
    path.write_bytes(tar_of(saved_members(plain)))
    os.utime(path, (1, 1))
    reference = at(path)
    async with opener() as source:
        found = await source.resolve(reference, AMD64)
    async with opener() as source:
        again = await source.resolve(reference, AMD64)
        assert again == found
        await check(source, again, plain)
    path.write_bytes(tar_of(saved_members(build_image([[]], compression="none"))))
    async with opener() as source:
        assert (await source.resolve(reference, AMD64)).digest != found.digest
        with pytest.raises(Corrupt, match="has changed since"):
            await read_blob(source, found, found.manifest.config)


@pytest.mark.parametrize("record", [b"", b"[]", b"{}", b"\xff", b'{"version":1,"fingerprint":5}', None])
async def test_a_damaged_record_is_none(
    tmp_path: Path, opener: Open, plain: BuiltImage, record: bytes | None
) -> None:
    path = tmp_path / "i.tar"
    path.write_bytes(tar_of(saved_members(plain)))
    records = Records(tmp_path / "cache" / "resolved")
    async with opener() as source:
        found = await source.resolve(at(path), AMD64)
        seen = file_fingerprint(str(path))
        records.remember(found, AMD64, seen)
        assert records.recall(at(path), AMD64, seen) == found
        assert records.recall(at(path), ARM64, seen) is None
        (kept,) = records.folder.iterdir()
        whole = json.loads(kept.read_bytes())
        kept.write_bytes(json.dumps({**whole, "manifest": "{}"}).encode() if record is None else record)
        assert records.recall(at(path), AMD64, seen) is None
        assert await source.resolve(at(path), AMD64) == found


async def test_records_are_few(tmp_path: Path, opener: Open, plain: BuiltImage) -> None:
    path = tmp_path / "i.tar"
    path.write_bytes(tar_of(saved_members(plain)))
    records = Records(tmp_path / "cache" / "resolved")
    async with opener() as source:
        found = await source.resolve(at(path), AMD64)
    for number in range(MAX_RECORDS + 10):
        records.remember(found, Platform("linux", f"a{number}"), file_fingerprint(str(path)))
    assert len(list(records.folder.iterdir())) == MAX_RECORDS


async def test_what_is_there_is_no_image(tmp_path: Path, opener: Open, plain: BuiltImage) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"no archive at all, but words\n" * 99)
    (tmp_path / "root.tar").write_bytes(tar_of({"etc/motd": b""}))
    (tmp_path / "ancient.tar").write_bytes(tar_of({"repositories": b"{}"}))
    (tmp_path / "folder").mkdir()
    cut = squeezed(tar_of(layout_members(plain)))
    (tmp_path / "cut.tar.gz").write_bytes(cut[: len(cut) // 2])
    cases: list[tuple[str, type[Exception], str]] = [
        ("nowhere", NotFound, "there is no "),
        ("empty", InvalidInput, "no image archive"),
        ("text", Corrupt, "is no tar archive"),
        ("root.tar", InvalidInput, "neither index.json nor manifest.json"),
        ("ancient.tar", Unsupported, "older than 1.10"),
        ("folder", InvalidInput, "no image archive"),
        ("cut.tar.gz", Corrupt, "ends early"),
    ]
    async with opener() as source:
        for name, kind, words in cases:
            with pytest.raises(kind, match=words):
                await source.resolve(at(tmp_path / name), AMD64)


async def test_bounds(
    tmp_path: Path, opener: Open, plain: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "i.tar.gz"
    path.write_bytes(squeezed(tar_of(layout_members(plain)) + bytes(10_000_000)))
    async with opener(ArchiveOptions(max_archive=5_000_000)) as source:
        with pytest.raises(LimitExceeded, match="more than 5000000 bytes"):
            await source.resolve(at(path), AMD64)
    async with opener(ArchiveOptions(reserve=1 << 45)) as source:
        with pytest.raises(StorageError, match="left free"):
            await source.resolve(at(path), AMD64)
    monkeypatch.setattr("monocore_oci_archive.members.MAX_MEMBERS", 3)
    async with opener() as source:
        with pytest.raises(LimitExceeded, match="more than 3 entries"):
            await source.resolve(at(path), AMD64)


async def test_a_blob_of_another_size_is_refused(tmp_path: Path, opener: Open, plain: BuiltImage) -> None:
    members = layout_members(plain)
    members[f"blobs/sha256/{plain.layers[0].digest.hex}"] = b"short"
    (tmp_path / "i.tar").write_bytes(tar_of(members))
    async with opener() as source:
        found = await source.resolve(at(tmp_path / "i.tar"), AMD64)
        with pytest.raises(Corrupt, match="has 5 bytes"):
            await read_blob(source, found, found.manifest.layers[0])


@pytest.mark.parametrize("target", ["manifest.json", "../../manifest.json", "/etc/passwd"])
async def test_links_lead_to_nothing_outside(tmp_path: Path, opener: Open, target: str) -> None:
    members: dict[str, bytes | str] = {"manifest.json": target}
    (tmp_path / "i.tar").write_bytes(tar_of(members))
    async with opener() as source:
        with pytest.raises((Corrupt, InvalidInput), match=r"links|neither"):
            await source.resolve(at(tmp_path / "i.tar"), AMD64)
