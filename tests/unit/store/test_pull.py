"""Pulling: what arrives is right or refused, done once, and a failure leaves nothing that looks like an image."""

import asyncio
import errno
import gzip
import io
import os
import tarfile
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partialmethod
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import (
    Corrupt,
    DeadlineExceeded,
    LimitExceeded,
    MonocoreError,
    StorageError,
    Unreachable,
    Unsupported,
)
from monocore_core.interfaces.image_source import ResolvedImage
from monocore_core.model.digest import Digest
from monocore_core.model.events import Event, LayerDone, LayerProgress, Resolved, Waiting, ignore
from monocore_core.model.oci import OCI_LAYER_GZIP, OCI_LAYER_TAR, Descriptor, Platform
from monocore_core.model.security import Security
from monocore_core.reference import Reference
from monocore_core.store import Limits, Store, ingest
from monocore_core.store.locks import Locks
from monocore_core.testing.memory import MemoryImage, MemorySource, documents, memory_image, squeeze
from monocore_core.unpacking.service import Unpackers

AMD64 = Platform("linux", "amd64")
NAME = Reference("docker.io", "library/test", "1")


def layer_tar(seed: str, size: int = 20_000) -> bytes:
    """A small, valid layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(f"file-{seed}")
        entry.size = size
        archive.addfile(entry, io.BytesIO((seed.encode() * size)[:size]))
    return buffer.getvalue()


@pytest.fixture(params=["by ourselves", "in jails"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """One whose layers are decompressed by ourselves, and one where workers do it."""
    with Store.open(tmp_path / "home") as opened:
        if request.param == "in jails":
            unpackers = Unpackers(Security(), tmp_path / "cache", tmp_path, ignore)
            monkeypatch.setattr(Store, "pull", partialmethod(Store.pull, unpackers=unpackers))
        yield opened


def source_of(image: MemoryImage, reference: Reference = NAME) -> MemorySource:
    source = MemorySource()
    source.add(reference, image)
    return source


def leftovers(store: Store) -> list[str]:
    """Temporary files, locks and layers."""
    home = store.layout.home
    return [
        path.name
        for part in ("temporary", "locks", "layers")
        for path in (home / part).rglob("*")
        if path.is_file()
    ]


async def test_a_pulled_image_is_complete_and_found(store: Store) -> None:
    tars = [layer_tar("a"), layer_tar("b", 300_000), layer_tar("c")]
    made = memory_image(tars)
    events: list[Event] = []
    again: list[Event] = []
    image = await store.pull(source_of(made), NAME, AMD64, listener=events.append)
    assert image.digest == made.digest
    assert image.references == (str(NAME),)
    assert [layer.path.read_bytes() for layer in image.layers] == tars
    assert [layer.diff_id for layer in image.layers] == list(made.diff_ids)
    assert all(layer.path.stat().st_mode & 0o777 == 0o400 for layer in image.layers)
    assert store.find_image(NAME, AMD64) == image
    assert store.images() == [image]
    assert store.image_documents(image) == (made.manifest_bytes, made.blobs[made.manifest.config.digest])
    assert isinstance(events[0], Resolved)
    assert not events[0].known
    await store.pull(source_of(made), NAME, AMD64, listener=again.append)
    assert isinstance(again[0], Resolved)
    assert again[0].known
    done = [event for event in events if isinstance(event, LayerDone)]
    assert sorted(event.digest for event in done) == sorted(layer.digest for layer in made.manifest.layers)
    assert not any(event.existed for event in done)
    last = {event.digest: event for event in events if isinstance(event, LayerProgress)}
    assert all(event.received == event.total for event in last.values())
    assert not list(store.layout.temporaries.iterdir())
    assert not list(store.layout.locks.iterdir())


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long files were when they were synced meanwhile, which is every 4 MiB."""
    found: list[int] = []

    def sync(fd: int) -> None:
        found.append(os.fstat(fd).st_size)
        os.fdatasync(fd)

    monkeypatch.setattr(ingest, "_SYNC", 4 << 20)
    monkeypatch.setattr(ingest, "sync_data", sync)
    return found


async def test_a_layer_that_comes_faster_than_the_disk_takes_it_is_the_same_and_synced_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch, syncs: list[int]
) -> None:
    """Blocks on their way lie in memory that is used again: none is overwritten before the disk has it."""
    write = os.pwrite

    def slowly(fd: int, data: memoryview, offset: int) -> int:
        time.sleep(0.01)
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slowly)
    tar = layer_tar("a", 0)[:-1024] + b"".join(
        bytes([number]) * (1 << 20) + os.urandom(64) + bytes(2 << 20) for number in range(12)
    )
    image = await store.pull(source_of(memory_image([tar])), NAME, AMD64)
    assert image.layers[0].path.read_bytes() == tar
    assert syncs
    assert 4 << 20 <= max(syncs) < len(tar)


async def test_a_disk_that_fails_when_it_is_synced_meanwhile_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, syncs: list[int]
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(ingest, "sync_data", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        await store.pull(source_of(memory_image([layer_tar("a", 20 << 20)])), NAME, AMD64)
    assert not syncs
    assert not leftovers(store)


async def test_a_repeat_transfers_nothing(store: Store) -> None:
    made = memory_image([layer_tar("a")])
    source = source_of(made)
    first = await store.pull(source, NAME, AMD64)
    before = source.downloads.copy()
    events: list[Event] = []
    second = await store.pull(source, NAME, AMD64, listener=events.append)
    assert source.downloads == before
    assert evolve(second, pulled=first.pulled) == first
    assert [event.existed for event in events if isinstance(event, LayerDone)] == [True]


async def test_shared_layers_are_transferred_once(store: Store) -> None:
    base = layer_tar("base")
    one, two = memory_image([base, layer_tar("one")]), memory_image([base, layer_tar("two"), base])
    await store.pull(source_of(one), NAME, AMD64)
    other = evolve(NAME, tag="2")
    source = source_of(two, other)
    image = await store.pull(source, other, AMD64)
    assert source.downloads[two.manifest.layers[0].digest] == 0
    assert [layer.path.read_bytes() for layer in image.layers] == [base, layer_tar("two"), base]


async def test_the_same_layer_twice_in_one_image_is_transferred_once(store: Store) -> None:
    made = memory_image([layer_tar("a"), layer_tar("a"), layer_tar("a")])
    source = source_of(made)
    image = await store.pull(source, NAME, AMD64)
    assert source.downloads[made.manifest.layers[0].digest] == 1
    assert len(image.layers) == 3


async def test_an_image_without_layers(store: Store) -> None:
    image = await store.pull(source_of(memory_image([])), NAME, AMD64)
    assert image.layers == ()
    assert store.find_image(NAME, AMD64) == image


async def test_an_image_gets_the_names_that_are_asked_for(store: Store) -> None:
    made, other = memory_image([layer_tar("a")]), Reference("docker.io", "other/name", "1")
    image = await store.pull(source_of(made), NAME, AMD64, names=())
    assert image.references == ()
    assert store.find_image(NAME, AMD64) is None
    image = await store.pull(source_of(made), NAME, AMD64, names=(other, NAME))
    assert image.references == tuple(sorted(map(str, (other, NAME))))
    assert store.find_image(other, AMD64) == image


async def test_a_moved_tag_means_the_new_image_and_the_old_one_stays_without_name(store: Store) -> None:
    old, new = memory_image([layer_tar("old")]), memory_image([layer_tar("new")])
    await store.pull(source_of(old), NAME, AMD64)
    await store.pull(source_of(new), NAME, AMD64)
    found = store.find_image(NAME, AMD64)
    assert found is not None
    assert found.digest == new.digest
    assert {image.digest: image.references for image in store.images()} == {
        old.digest: (),
        new.digest: (str(NAME),),
    }


async def test_a_reference_by_digest_is_found_whatever_its_name(store: Store) -> None:
    made = memory_image([layer_tar("a")])
    await store.pull(source_of(made), NAME, AMD64)
    by_digest = evolve(NAME, tag="", digest=made.digest)
    found = store.find_image(by_digest, AMD64)
    assert found is not None
    assert found.digest == made.digest
    assert store.find_image(by_digest, Platform("linux", "arm64")) is None


# wrong images


def broken_descriptor(change: Callable[[Descriptor], Descriptor], blob: bytes | None = None) -> MemoryImage:
    made = memory_image([layer_tar("a")])
    right = made.manifest.layers[0]
    wrong = change(right)
    blobs = made.blobs | {wrong.digest: made.blobs[right.digest] if blob is None else blob}
    return documents(made.manifest.config, [wrong], blobs, made.diff_ids)


def with_blob(blob: bytes, tar: bytes) -> MemoryImage:
    """An image whose one layer is stored as ``blob`` and claims to be ``tar``."""
    return memory_image([tar], compress=lambda _: blob)


OTHER = Digest.of(b"something else")
TAR = layer_tar("a")
SQUEEZED = squeeze(TAR)

WRONG = {
    "digest of the blob": (broken_descriptor(lambda d: evolve(d, digest=OTHER)), "have the digest"),
    "blob shorter than said": (broken_descriptor(lambda d: evolve(d, size=d.size + 1)), "its manifest says"),
    "blob longer than said": (broken_descriptor(lambda d: evolve(d, size=d.size - 1)), "its manifest says"),
    "diff id": (memory_image([TAR], diff_ids=[OTHER]), "uncompressed bytes have the digest"),
    "too few diff ids": (memory_image([TAR, TAR], diff_ids=[OTHER]), "has 2 layers, its configuration 1"),
    "truncated gzip": (with_blob(SQUEEZED[:-9], TAR), "ends early"),
    "gzip without data": (with_blob(SQUEEZED[:12], TAR), "ends early"),
    "damaged gzip": (with_blob(SQUEEZED[:40] + b"\xff" * 20 + SQUEEZED[60:], TAR), "damaged"),
    "wrong checksum in gzip": (with_blob(SQUEEZED[:-8] + b"\0" * 4 + SQUEEZED[-4:], TAR), "damaged"),
    "garbage behind gzip": (with_blob(SQUEEZED + b"garbage", TAR), "followed by something else"),
    "zeros and garbage behind gzip": (with_blob(SQUEEZED + b"\0\0x", TAR), "followed by something else"),
    "nothing at all": (with_blob(b"", b""), "too short"),
    "not compressed, and another": (
        documents(
            memory_image([TAR]).manifest.config,
            [Descriptor(OCI_LAYER_TAR, Digest.of(TAR), len(TAR))],
            memory_image([TAR]).blobs | {Digest.of(TAR): TAR[:-1] + b"x"},
            (Digest.of(TAR),),
        ),
        "uncompressed bytes have the digest",
    ),
    "compressed under the digest of the tar": (
        documents(
            memory_image([TAR]).manifest.config,
            [Descriptor(OCI_LAYER_GZIP, Digest.of(TAR), len(SQUEEZED))],
            memory_image([TAR]).blobs | {Digest.of(TAR): SQUEEZED},
            (Digest.of(TAR),),
        ),
        "it is compressed, but",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_layer_is_refused_and_leaves_nothing(store: Store, case: str) -> None:
    made, message = WRONG[case]
    with pytest.raises(Corrupt, match=message) as caught:
        await store.pull(source_of(made), NAME, AMD64)
    assert "layer" in caught.value.brief
    assert store.find_image(NAME, AMD64) is None
    assert store.images() == []
    assert leftovers(store) == []
    assert store.leases() == []


async def test_a_failed_pull_keeps_what_the_name_meant_and_the_good_layers(store: Store) -> None:
    good = memory_image([layer_tar("good")])
    await store.pull(source_of(good), NAME, AMD64)
    bad = memory_image([layer_tar("x"), layer_tar("y")], diff_ids=[Digest.of(layer_tar("x")), OTHER])
    with pytest.raises(Corrupt):
        await store.pull(source_of(bad), NAME, AMD64, limits=Limits(parallel=1))
    found = store.find_image(NAME, AMD64)
    assert found is not None
    assert found.digest == good.digest
    assert store.prune()[1].layers == 1  # "x" arrived, and nothing names it


async def test_wrong_documents_are_refused(store: Store) -> None:
    made = memory_image([TAR])
    config = made.manifest.config
    shifted = made.blobs | {config.digest: made.blobs[config.digest].replace(b"amd64", b"arm64")}
    with pytest.raises(Corrupt, match="configuration"):
        await store.pull(source_of(evolve(made, blobs=shifted)), NAME, AMD64)
    longer = made.blobs | {config.digest: made.blobs[config.digest] + b" " * 100_000}
    with pytest.raises(Corrupt, match="configuration"):
        await store.pull(source_of(evolve(made, blobs=longer)), NAME, AMD64)
    strange = documents(
        evolve(config, media_type="application/x-helm"), made.manifest.layers, made.blobs, made.diff_ids
    )
    with pytest.raises(Unsupported, match="x-helm"):
        await store.pull(source_of(strange), NAME, AMD64)
    huge = documents(evolve(config, size=10**9), made.manifest.layers, made.blobs, made.diff_ids)
    with pytest.raises(LimitExceeded, match="configuration"):
        await store.pull(source_of(huge), NAME, AMD64)
    assert leftovers(store) == []


async def test_a_manifest_that_contradicts_its_digest_is_refused(store: Store) -> None:
    class Lying(MemorySource):
        async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
            return evolve(await super().resolve(reference, platform), digest=OTHER)

    source = Lying()
    source.add(NAME, memory_image([TAR]))
    with pytest.raises(Corrupt, match="manifest"):
        await store.pull(source, NAME, AMD64)


async def test_unknown_layer_types_are_refused_by_name_before_anything_is_transferred(store: Store) -> None:
    source = source_of(memory_image([TAR], media_type="application/vnd.example.layer+xz"))
    with pytest.raises(Unsupported, match=r"layer\+xz"):
        await store.pull(source, NAME, AMD64)
    assert not source.downloads


async def test_an_image_for_another_platform_is_refused(store: Store) -> None:
    arm = memory_image([TAR], platform=Platform("linux", "arm64", "v8"))
    with pytest.raises(Unsupported, match="linux/arm64"):
        await store.pull(source_of(arm), NAME, AMD64)
    assert (await store.pull(source_of(arm), NAME, Platform("linux", "arm64"))).digest == arm.digest
    with pytest.raises(Unsupported, match="not for linux/amd64"):  # also when it is here already
        await store.pull(source_of(arm), NAME, AMD64)


async def test_the_index_knows_the_variant_better_than_the_configuration(store: Store) -> None:
    source = source_of(memory_image([TAR], platform=Platform("linux", "arm", "v6")))
    wanted = Platform("linux", "arm", "v7")
    with pytest.raises(Unsupported):
        await store.pull(source, NAME, wanted)
    source.index_platform = wanted
    assert (await store.pull(source, NAME, wanted)).config.platform.variant == "v6"


# bounds


async def test_bombs_are_refused(store: Store) -> None:
    bomb = memory_image([bytes(30_000_000)])
    with pytest.raises(LimitExceeded, match="larger than 10000000 bytes") as caught:
        await store.pull(source_of(bomb), NAME, AMD64, limits=Limits(layer=10_000_000))
    assert bomb.manifest.layers[0].digest.hex in caught.value.brief
    with pytest.raises(LimitExceeded, match="50 times larger"):
        await store.pull(source_of(bomb), NAME, AMD64, limits=Limits(ratio=50, ratio_from=5_000_000))
    two = memory_image([bytes(30_000_000), bytes(30_000_001)])
    with pytest.raises(LimitExceeded, match="is larger than 40000000"):
        await store.pull(source_of(two), NAME, AMD64, limits=Limits(image=40_000_000))
    with pytest.raises(LimitExceeded, match="3 layers"):
        await store.pull(source_of(memory_image([b"a" * 512] * 3)), NAME, AMD64, limits=Limits(layers=2))
    assert store.images() == []
    assert store.leases() == []


async def test_zeros_take_no_space(store: Store) -> None:
    tar = b"x" * 512 + bytes(20_000_000) + b"y" * 512 + bytes(8_000_000)
    image = await store.pull(source_of(memory_image([tar])), NAME, AMD64)
    path = image.layers[0].path
    assert path.read_bytes() == tar
    assert path.stat().st_blocks * 512 < 12_000_000


async def test_at_most_so_many_layers_at_once(store: Store) -> None:
    active: set[Digest] = set()
    most, both = 0, asyncio.Event()
    made = memory_image([layer_tar(str(number)) for number in range(8)])

    async def hook(digest: Digest, offset: int) -> None:
        nonlocal most
        del offset
        if digest == made.manifest.config.digest:
            return
        active.add(digest)
        most = max(most, len(active))
        if most == 2:
            both.set()
        async with asyncio.timeout(30):
            await both.wait()
        await asyncio.sleep(0)

    class Watching(MemorySource):
        @asynccontextmanager
        async def open_blob(
            self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
        ) -> AsyncGenerator[AsyncIterator[bytes]]:
            async with super().open_blob(image, descriptor, offset) as chunks:
                yield chunks
            active.discard(descriptor.digest)

    source = Watching(hook=hook)
    source.add(NAME, made)
    await store.pull(source, NAME, AMD64, limits=Limits(parallel=2))
    assert most == 2


# together, and interrupted


async def test_two_at_once_do_the_work_once(store: Store) -> None:
    made = memory_image([layer_tar("a"), layer_tar("b")])
    source = source_of(made)
    events: list[Event] = []
    with Store.open(store.layout.home) as other:
        one, two = await asyncio.gather(
            store.pull(source, NAME, AMD64, listener=events.append),
            other.pull(source, NAME, AMD64, listener=events.append),
        )
    assert one.digest == two.digest == made.digest
    assert set(source.downloads.values()) == {1}
    assert any(isinstance(event, Waiting) for event in events)


async def test_two_images_with_a_common_layer_at_once_transfer_it_once(store: Store) -> None:
    base = layer_tar("base", 400_000)
    one, two = memory_image([base, layer_tar("1")]), memory_image([base, layer_tar("2")])
    other = evolve(NAME, tag="2")
    source = MemorySource(chunk=64)
    source.add(NAME, one)
    source.add(other, two)
    await asyncio.gather(store.pull(source, NAME, AMD64), store.pull(source, other, AMD64))
    assert source.downloads[one.manifest.layers[0].digest] == 1
    assert len(store.images()) == 2


async def test_waiting_for_another_has_an_end(store: Store) -> None:
    made = memory_image([TAR])
    async with Locks(store.layout.locks).hold(f"image {made.digest}", patience=1):
        with pytest.raises(DeadlineExceeded, match="another process"):
            await store.pull(source_of(made), NAME, AMD64, limits=Limits(patience=0.05))
    assert (await store.pull(source_of(made), NAME, AMD64)).digest == made.digest


async def test_the_second_takes_over_when_the_first_fails(store: Store) -> None:
    made = memory_image([layer_tar("a", 500_000)])
    started = asyncio.Event()

    async def fail(digest: Digest, offset: int) -> None:
        if digest == made.manifest.layers[0].digest and offset:
            started.set()
            await asyncio.sleep(0.01)
            raise Unreachable("the registry hung up")

    failing = MemorySource(hook=fail, chunk=256)
    failing.add(NAME, made)
    first = asyncio.create_task(store.pull(failing, NAME, AMD64))
    await started.wait()
    second = await store.pull(source_of(made), NAME, AMD64)
    with pytest.raises(Unreachable, match="hung up"):
        await first
    assert second.digest == made.digest


async def test_cancellation_leaves_nothing(store: Store) -> None:
    made = memory_image([os.urandom(3_000_000), layer_tar("b")], compress=lambda data: data)
    reached = asyncio.Event()

    async def hang(digest: Digest, offset: int) -> None:
        if digest == made.manifest.layers[0].digest and offset > 2_000_000:
            reached.set()
            await asyncio.Event().wait()

    source = MemorySource(hook=hang)
    source.add(NAME, made)
    task = asyncio.create_task(store.pull(source, NAME, AMD64))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.find_image(NAME, AMD64) is None
    assert not list(store.layout.temporaries.iterdir())
    assert not list(store.layout.locks.iterdir())
    assert store.leases() == []
    source.hook = MemorySource().hook
    assert (await store.pull(source, NAME, AMD64)).digest == made.digest


@pytest.mark.parametrize("damage", ["missing", "shorter", "longer"])
async def test_a_damaged_layer_makes_the_image_invisible_until_it_is_pulled_again(
    store: Store, damage: str
) -> None:
    made = memory_image([layer_tar("a"), layer_tar("b")])
    image = await store.pull(source_of(made), NAME, AMD64)
    path = image.layers[1].path
    if damage == "missing":
        path.unlink()
    else:
        path.chmod(0o600)
        data = path.read_bytes()
        path.write_bytes(data[:-1] if damage == "shorter" else data + b"\0")
    assert store.find_image(NAME, AMD64) is None
    assert store.images() == []
    source = source_of(made)
    again = await store.pull(source, NAME, AMD64)
    assert [source.downloads[layer.digest] for layer in made.manifest.layers] == [0, 1]
    assert again.layers[1].path.read_bytes() == layer_tar("b")


async def test_a_disk_that_refuses_is_a_storage_error(store: Store) -> None:
    blocked = store.layout.layer(Digest.of(TAR))
    blocked.mkdir()
    (blocked / "in the way").touch()
    with pytest.raises(StorageError, match=r"layer sha256:.*: ") as caught:
        await store.pull(source_of(memory_image([TAR])), NAME, AMD64)
    assert isinstance(caught.value, MonocoreError)
    assert store.leases() == []


def test_gzip_really_is_what_the_cases_assume() -> None:
    assert gzip.decompress(SQUEEZED) == TAR
    assert zlib.crc32(TAR).to_bytes(4, "little") == SQUEEZED[-8:-4]
