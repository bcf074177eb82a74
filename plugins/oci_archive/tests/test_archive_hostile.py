"""Whatever an archive holds, a pull of it ends soon, with an image or with one of our errors, and with nothing left open."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monocore_oci_archive import PROVIDER, ArchiveOptions
from monocore_oci_archive.content import MAX_LOOKS
from monocore_oci_archive.members import Members, read_document
from monocore_oci_archive.stopping import Stop

from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError, NotFound
from monocore_core.interfaces.image_source import ImageArchive
from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference
from monocore_core.testing.archives import Contents, layout_members, saved_members, tar_of
from monocore_core.testing.filespec import file
from monocore_core.testing.images import build_image, build_index
from monocore_core.testing.memory import squeeze
from monocore_core.testing.sources import SourceOpener, read_blob

Json = dict[str, "Json"] | list["Json"] | str | int | float | None
Open = SourceOpener[ArchiveOptions]
AMD64 = Platform("linux", "amd64")
IMAGE = build_image([[file("a", b"x" * 3000)], []], compression="none")
OTHER = build_image([[file("b", b"y" * 50)]], platform=Platform("linux", "arm64"))
LAYOUT = layout_members(build_index([IMAGE, OTHER]), {"org.opencontainers.image.ref.name": "a:1"})
SAVED = saved_members(IMAGE, "a:1", "b:2")
#: Texts that mean something where they stand.
WORDS = [
    "",
    "..",
    "/etc/passwd",
    "manifest.json",
    "\0",
    "sha256:" + "0" * 64,
    "blobs/sha256",
    "@0",
    "x" * 5000,
]
json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Config", "Layers", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def at(path: Path, scheme: str = "oci-archive") -> Reference:
    return Reference("", str(path), scheme=scheme)


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}


async def use(path: Path, cache: Path, scheme: str) -> None:
    """All that a load and a pull do."""
    async with PROVIDER.create(Host(cache, cache), ArchiveOptions(max_archive=1 << 22)) as source:
        assert isinstance(source, ImageArchive)
        for held in await source.held(at(path, scheme)):
            found = await source.resolve(held.reference, AMD64)
            assert Digest.of(found.manifest_bytes, found.digest.algorithm) == found.digest
            for descriptor in (found.manifest.config, *found.manifest.layers):
                assert len(await read_blob(source, found, descriptor)) == descriptor.size


def pull(data: bytes, scheme: str = "oci-archive") -> None:
    before = descriptors()
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "i.tar"), Path(folder, "cache")
        cache.mkdir()
        path.write_bytes(data)
        refusal = ""
        try:
            asyncio.run(asyncio.wait_for(use(path, cache, scheme), 20))
        except MonocoreError as error:
            refusal = error.brief
        assert not refusal or str(path) in refusal
        assert [each.name for each in cache.iterdir() if each.name.startswith("spool")] == []
    assert descriptors() == before


@given(
    contents=st.sampled_from([tar_of(LAYOUT), tar_of(SAVED), squeeze(tar_of(SAVED))]),
    edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(0, 1 << 16),
    scheme=st.sampled_from(["oci-archive", "rootfs"]),
)
@settings(max_examples=150, deadline=None)
def test_bytes_changed_anywhere(
    contents: bytes, edits: list[tuple[int, int]], cut: int | None, scheme: str
) -> None:
    data = bytearray(contents)
    for place, value in edits:
        data[place % len(data)] = value
    pull(bytes(data[: cut % len(data)] if cut is not None else data), scheme)


def places(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to every value of a document."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, str(key)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


def replaced(value: Json, path: tuple[str | int, ...], new: Json) -> Json:
    if not path:
        return new
    first, *rest = path
    if isinstance(value, dict):
        return {
            key: replaced(inner, tuple(rest), new) if key == first else inner for key, inner in value.items()
        }
    assert isinstance(value, list)
    return [
        replaced(inner, tuple(rest), new) if number == first else inner for number, inner in enumerate(value)
    ]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_documents_that_say_something_else(data: st.DataObject) -> None:
    members: Contents = dict(data.draw(st.sampled_from([LAYOUT, SAVED])))
    documents = sorted(
        name for name, body in members.items() if isinstance(body, bytes) and body[:1] in {b"{", b"["}
    )
    name = data.draw(st.sampled_from(documents))
    document: Json = json.loads(members[name])
    place = data.draw(st.sampled_from(list(places(document))))
    members[name] = json.dumps(replaced(document, place, data.draw(json_values))).encode()
    pull(tar_of(members))


@given(
    names=st.lists(st.sampled_from(sorted(SAVED)), min_size=1, max_size=3),
    target=st.sampled_from([*sorted(SAVED), "..", "a/../..", "/proc/self/mem", "/dev/zero", "."]),
)
@settings(max_examples=60, deadline=None)
def test_links_in_the_place_of_files(names: list[str], target: str) -> None:
    members: Contents = {**SAVED, **dict.fromkeys(names, target)}
    pull(tar_of(members))


async def test_listing_reads_few_documents(
    tmp_path: Path, opener: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(members: Members, name: str) -> bytes:
        read.append(name)
        return read_document(members, name)

    monkeypatch.setattr("monocore_oci_archive.docker_save.read_document", counted)
    (saved,) = json.loads(SAVED["manifest.json"])
    config = SAVED[saved["Config"]]
    members: Contents = {**SAVED, **{f"{number}.json": config for number in range(MAX_LOOKS + 9)}}
    entries = [{**saved, "Config": f"{number}.json"} for number in range(MAX_LOOKS + 9)]
    members["manifest.json"] = json.dumps(entries + entries).encode()
    (tmp_path / "i.tar").write_bytes(tar_of(members))
    async with opener() as source:
        assert isinstance(source, ImageArchive)
        held = await source.held(at(tmp_path / "i.tar"))
    assert len(held) == 2 * (MAX_LOOKS + 9)
    assert [each.platforms for each in held].count((AMD64,)) == 2 * MAX_LOOKS
    assert len(read) == 1 + MAX_LOOKS


async def test_a_file_twice_is_refused(tmp_path: Path, opener: Open) -> None:
    first, second = tar_of({"manifest.json": b"[]"}), tar_of(SAVED)
    (tmp_path / "i.tar").write_bytes(first[:1024] + second)
    async with opener() as source:
        with pytest.raises(Corrupt, match=r"manifest\.json stands in it twice"):
            await source.resolve(at(tmp_path / "i.tar"), AMD64)


async def test_a_bomb_of_zeros_takes_no_room(tmp_path: Path, opener: Open) -> None:
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(squeeze(bytes(200_000_000)))
    async with opener(ArchiveOptions(max_archive=150_000_000)) as source:
        with pytest.raises(LimitExceeded, match="more than 150000000 bytes"):
            await source.resolve(at(path), AMD64)
        spool = asyncio.create_task(source.resolve(at(path), AMD64))
        with pytest.raises(LimitExceeded):
            await spool
    assert sum(each.stat().st_blocks for each in opener.folder.iterdir()) < 100


@pytest.mark.parametrize("name", ["../secret", "/../secret", "a/../../secret"])
async def test_names_in_a_folder_lead_to_nothing_outside(tmp_path: Path, opener: Open, name: str) -> None:
    (saved,) = json.loads(SAVED["manifest.json"])
    config = SAVED[saved["Config"]]
    assert isinstance(config, bytes)
    (tmp_path / "secret").write_bytes(config)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps([{**saved, "Config": name}]))
    async with opener() as source:
        with pytest.raises(NotFound, match="has no"):
            await source.resolve(at(folder, "docker-archive"), AMD64)


async def test_a_layout_folder_leads_to_no_device(tmp_path: Path, opener: Open) -> None:
    layout = tmp_path / "layout"
    IMAGE.write_layout(layout)
    (layout / "index.json").unlink()
    (layout / "index.json").symlink_to("/dev/zero")
    async with opener() as source:
        with pytest.raises(Corrupt, match="is not a file"):
            await source.resolve(at(layout, "oci"), AMD64)
    (layout / "index.json").unlink()
    os.mkfifo(layout / "index.json")
    async with opener() as source:
        with pytest.raises(Corrupt, match="is not a file"):
            await source.resolve(at(layout, "oci"), AMD64)


async def test_a_cancelled_pull_from_a_pipe_leaves_nothing(
    tmp_path: Path, opener: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, blocked, waits = asyncio.get_running_loop(), asyncio.Event(), itertools.count(1)
    wait = Stop.wait_readable

    def waited(self: Stop, fd: int) -> None:
        if next(waits) == 2:  # it has read what there was
            loop.call_soon_threadsafe(blocked.set)
        wait(self, fd)

    monkeypatch.setattr(Stop, "wait_readable", waited)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with opener() as source:
        before = descriptors()
        writer = os.open(fifo, os.O_RDWR)
        os.write(writer, tar_of(SAVED)[:4096])
        waiting = asyncio.create_task(source.resolve(at(fifo), AMD64))
        await asyncio.wait_for(blocked.wait(), 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        os.close(writer)
        assert descriptors() == before


async def test_a_blob_that_is_nowhere(tmp_path: Path, opener: Open) -> None:
    members = dict(LAYOUT)
    del members[f"blobs/sha256/{IMAGE.layers[0].digest.hex}"]
    (tmp_path / "i.tar").write_bytes(tar_of(members))
    async with opener() as source:
        found = await source.resolve(at(tmp_path / "i.tar"), AMD64)
        with pytest.raises(NotFound, match=IMAGE.layers[0].digest.hex):
            await read_blob(source, found, found.manifest.layers[0])
