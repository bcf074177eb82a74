"""Images by name and id, removal by Docker's rules, leases, folders, garbage, usage; opening."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import Conflict, Corrupt, InvalidInput, NotFound, StorageError, Unsupported
from monocore_core.model.digest import Digest
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference
from monocore_core.store import Store, private_root_key
from monocore_core.store.locks import Locks
from monocore_core.store.owner import Owner
from monocore_core.testing.memory import MemorySource, memory_image

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
NAME = Reference("docker.io", "library/test", "1")
OTHER = evolve(NAME, tag="2")
NAMES = {"one": NAME, "two": OTHER}


def parse(text: str) -> Reference:
    """Two names are enough here."""
    if text not in NAMES:
        if not text.isalnum():
            raise InvalidInput(f"{text!r} is not a reference")
        return Reference("docker.io", f"library/{text}", "latest")
    return NAMES[text]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


def pulled(store: Store, label: str, *references: Reference, platform: Platform = AMD64) -> Image:
    """An image with a layer of its own and one that all have, under these names."""
    source = MemorySource()
    made = memory_image([b"common" * 1000, label.encode() * 1000], label=label, platform=platform)
    for reference in references:
        source.add(reference, made)
        asyncio.run(store.pull(source, reference, platform))
    image = store.find_image(references[0], platform)
    assert image is not None
    return image


def dead_owner() -> Owner:
    """A process that has ended."""
    script = "from monocore_core.store.owner import Owner; print(Owner.current())"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    owner = Owner.parse(out.stdout.strip())
    assert owner is not None
    return owner


# by name and id


def test_an_image_is_found_by_name_id_and_configuration(store: Store) -> None:
    image = pulled(store, "a", NAME)
    config = Digest.of(store.image_documents(image)[1])
    for text in ("one", str(image.digest), image.digest.hex, image.digest.short, str(config), config.short):
        assert store.resolve_image(text, AMD64, parse=parse) == image
    assert store.resolve_image("two", AMD64, parse=parse) is None
    assert store.resolve_image("f" * 64, AMD64, parse=parse) is None
    assert store.resolve_image(f"sha256:{'f' * 64}", AMD64, parse=parse) is None
    assert store.resolve_image(NAME, AMD64) == image
    with pytest.raises(InvalidInput, match="not a reference"):
        store.resolve_image("not a reference!", AMD64, parse=parse)
    with pytest.raises(Unsupported, match="linux/amd64, not for linux/arm64") as caught:
        store.resolve_image(image.digest.short, ARM64, parse=parse)
    assert str(caught.value.hint).startswith("--platform linux/amd64 ")


def test_an_ambiguous_id_is_an_error(store: Store) -> None:
    seen: dict[str, str] = {}
    for number in range(300):
        label = f"image {number}"
        digest = memory_image([b"common" * 1000, label.encode() * 1000], label=label).digest
        first = seen.setdefault(digest.hex[:2], label)
        if first != label:
            pulled(store, first, NAME)
            pulled(store, label, OTHER)
            with pytest.raises(InvalidInput, match="2 image ids"):
                store.resolve_image(f"sha256:{digest.hex[:2]}", AMD64, parse=parse)
            return
    pytest.fail("no two digests begin alike")


def test_a_name_goes_before_an_id(store: Store) -> None:
    image = pulled(store, "a", NAME)
    named = pulled(store, "b", Reference("docker.io", f"library/{image.digest.short}", "latest"))
    assert store.resolve_image(image.digest.short, AMD64, parse=parse) == named


def test_one_name_has_an_image_a_platform(store: Store) -> None:
    amd, arm = pulled(store, "x", NAME), pulled(store, "x", NAME, platform=ARM64)
    assert amd.digest != arm.digest
    assert store.find_image(NAME, AMD64) == amd
    assert store.find_image(NAME, ARM64) == arm


# removal


def test_untagging_keeps_the_image_until_its_last_name(store: Store) -> None:
    image = pulled(store, "a", NAME, OTHER)
    assert image.references == (str(NAME), str(OTHER))
    removed, reclaimed = store.remove_image("one", parse=parse)
    assert (removed.untagged, removed.deleted, reclaimed.layers) == ((str(NAME),), (), 0)
    removed, reclaimed = store.remove_image("two", parse=parse)
    assert (removed.untagged, removed.deleted, reclaimed.layers) == ((str(OTHER),), (image.digest,), 2)
    assert reclaimed.bytes > 0
    assert store.images() == []
    assert not list(store.layout.layers.rglob("*.tar"))
    with pytest.raises(NotFound):
        store.remove_image("two", parse=parse)
    with pytest.raises(NotFound):
        store.image_documents(image)


def test_removal_by_id_needs_force_for_several_names(store: Store) -> None:
    image = pulled(store, "a", NAME, OTHER)
    with pytest.raises(Conflict, match="several names"):
        store.remove_image(image.digest.short, parse=parse)
    assert store.find_image(NAME, AMD64) is not None
    removed, _ = store.remove_image(image.digest.short, force=True, parse=parse)
    assert removed.untagged == (str(NAME), str(OTHER))
    with pytest.raises(NotFound, match="id"):
        store.remove_image(str(image.digest), parse=parse)


def test_common_layers_stay_for_others(store: Store) -> None:
    pulled(store, "a", NAME)
    kept = pulled(store, "b", OTHER)
    assert store.remove_image("one", parse=parse)[1].layers == 1
    assert store.find_image(OTHER, AMD64) == kept


def test_a_used_image_is_kept_unless_forced_and_then_its_layers_are(store: Store) -> None:
    image = pulled(store, "a", NAME)
    with store.lease(image, "box", name="my-box"):
        for text in ("one", image.digest.short):
            with pytest.raises(Conflict, match="my-box"):
                store.remove_image(text, parse=parse)
        assert store.find_image(NAME, AMD64) is not None
        assert store.prune(all_unused=True)[0].deleted == ()
        removed, reclaimed = store.remove_image("one", force=True, parse=parse)
        assert (removed.deleted, reclaimed.layers) == ((image.digest,), 0)
        assert all(layer.path.exists() for layer in image.layers)
        shared = f"sha256-{image.chain_id.hex}"
        (lease,) = store.leases()
        assert store.root_keys_in_use() == {shared, private_root_key(shared, lease.key)}
    assert store.root_keys_in_use() == frozenset()
    assert store.prune()[1].layers == 2
    with pytest.raises(NotFound, match="removed"):
        store.begin_lease(image, "box")
    assert store.leases() == []


def test_prune_takes_nameless_images_and_all_when_asked(store: Store) -> None:
    old = pulled(store, "old", NAME)
    new = pulled(store, "new", NAME)
    removed, reclaimed = store.prune()
    assert (removed.deleted, reclaimed.images, reclaimed.layers) == ((old.digest,), 1, 1)
    removed, reclaimed = store.prune(all_unused=True)
    assert (removed.deleted, removed.untagged, reclaimed.layers) == ((new.digest,), (str(NAME),), 2)
    _, reclaimed = store.prune(all_unused=True)
    assert (reclaimed.images, reclaimed.layers, reclaimed.bytes) == (0, 0, 0)


def test_garbage_includes_files_without_a_record_but_not_what_is_being_pulled(store: Store) -> None:
    stray = store.layout.layer(Digest.of(b"stray"))
    stray.write_bytes(b"stray")
    with Locks(store.layout.locks).hold_now(f"layer {Digest.of(b'stray')}") as held:
        assert held
        assert store.prune()[1].layers == 0
    assert store.prune()[1].layers == 1
    assert not stray.exists()


# leases and folders


def test_leases_belong_to_processes_or_to_nobody(store: Store) -> None:
    image = pulled(store, "a", NAME)
    with store.lease(image, "box"), pytest.raises(Conflict, match="box"):
        store.begin_lease(image, "box")
    store.begin_lease(image, "forever", persistent=True)
    store.begin_lease(image, "dead")
    with store.database.transaction() as connection:
        connection.execute("UPDATE leases SET owner = ? WHERE key = 'dead'", (str(dead_owner()),))
    assert [lease.key for lease in store.leases()] == ["forever"]
    store.begin_lease(image, "dead")  # the dead one does not count
    with store.database.transaction() as connection:
        connection.execute("UPDATE leases SET owner = ? WHERE key = 'dead'", (str(dead_owner()),))
    with Store.open(store.layout.home) as again:
        assert again.database.query("SELECT key FROM leases") == [("forever",)]
        assert again.prune(all_unused=True)[0].deleted == ()
        again.end_lease("forever")
        again.end_lease("forever")
        assert again.prune(all_unused=True)[0].deleted == (image.digest,)


def test_a_sandbox_folder_lives_as_long_as_its_block_or_process(store: Store) -> None:
    with store.sandbox_directory("box") as path:
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "deep").mkdir()
        (path / "deep" / "file").write_text("x")
        with pytest.raises(Conflict, match="box"), store.sandbox_directory("box"):
            pass
        with Store.open(store.layout.home):
            assert path.exists()
    assert not path.exists()
    dead = store.make_sandbox_directory("dead")
    with store.database.transaction() as connection:
        connection.execute("UPDATE sandboxes SET owner = ?", (str(dead_owner()),))
    kept = store.make_sandbox_directory("kept", persistent=True)
    stray = store.layout.sandboxes / ".stray"
    stray.mkdir()
    with Store.open(store.layout.home):
        assert not dead.exists()
        assert not stray.exists()
        assert kept.exists()
    with pytest.raises(InvalidInput), store.sandbox_directory("../out"):
        pass


def test_places_are_private_and_made_once(store: Store) -> None:
    state, cache = store.backend_places("layer_merger", "layer_erofs")
    assert (state, cache) == store.backend_places("layer_merger", "layer_erofs")
    for path in (state, cache, store.cache_directory("boot"), store.layout.home):
        assert path.stat().st_mode & 0o777 == 0o700
    assert store.layout.database.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInput):
        store.backend_state("vmm", "../../etc")


def test_usage_counts_what_is_there(store: Store) -> None:
    empty = store.disk_usage()
    assert (empty.images, empty.layers.files, empty.unused_layers.files) == (0, 0, 0)
    image = pulled(store, "a", NAME)
    (store.cache_directory("boot") / "sparse").touch()
    os.truncate(store.cache_directory("boot") / "sparse", 10**9)
    usage = store.disk_usage()
    assert usage.images == 1
    assert (usage.layers.files, usage.layers.bytes) == (2, image.size)
    assert usage.layers.allocated >= 8192
    assert (usage.cache.bytes, usage.cache.allocated) == (10**9, 0)
    assert usage.total.files == 3 + usage.database.files
    assert usage.database.bytes > 0
    with store.lease(image, "box"):
        store.remove_image("one", force=True, parse=parse)
        assert store.disk_usage().unused_layers.files == 0
    assert store.disk_usage().unused_layers.files == 2


@pytest.mark.needs("mkfs.ext4", "e2fsprogs")
async def test_a_scratch_disk_is_an_empty_sparse_ext4(store: Store) -> None:
    with store.sandbox_directory("box") as directory:
        path = await store.scratch_disk(directory, 2**30)
        assert path.stat().st_size == 2**30
        assert path.stat().st_blocks * 512 < 2**24
        check = await asyncio.create_subprocess_exec(
            "/sbin/e2fsck", "-fn", os.fspath(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert await check.wait() == 0
        assert await store.scratch_disk(directory, 2**30) == path, "a disk that is there is kept"
        with store.sandbox_directory("next") as other:
            with pytest.raises(InvalidInput):
                await store.scratch_disk(other, 1000)
            copy = await store.scratch_disk(other, 2**30)
            assert copy.stat().st_blocks * 512 < 2**24
            assert (
                await (await asyncio.create_subprocess_exec("cmp", os.fspath(path), os.fspath(copy))).wait()
                == 0
            )


@pytest.mark.needs("mkfs.ext4", "e2fsprogs")
async def test_so_many_templates_of_scratch_disks_are_kept(store: Store) -> None:
    for number in range(10):
        with store.sandbox_directory("box") as directory:
            await store.scratch_disk(directory, (number + 4) * 2**20)
    assert len(list(store.cache_directory("scratch").iterdir())) == 8
    assert store.disk_usage().temporaries.files == 0


# opening


def test_opening_removes_what_dead_processes_were_writing(store: Store) -> None:
    dead, mine = store.layout.temporary(dead_owner()), store.layout.temporary(Owner.current())
    odd = store.layout.temporaries / "something"
    for path in (dead, mine, odd):
        path.write_bytes(b"unfinished")
    with Store.open(store.layout.home):
        assert list(store.layout.temporaries.iterdir()) == [mine]


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(StorageError, match="others") as caught, Store.open(home):
        pass
    assert caught.value.hint is not None
    assert "chmod 700" in caught.value.hint


def test_a_home_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"), Store.open(tmp_path / "file" / "home"):
        pass


def test_a_damaged_database_and_one_of_the_future_are_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        path = store.layout.database
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Unsupported, match="schema 99"), Store.open(tmp_path / "home"):
        pass
    path.write_bytes(b"not a database at all, but long enough" * 100)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(Corrupt, match="damaged"), Store.open(tmp_path / "home"):
        pass


def test_many_processes_may_open_a_fresh_home_at_once(tmp_path: Path) -> None:
    script = "import sys, pathlib; from monocore_core.store import Store\nwith Store.open(pathlib.Path(sys.argv[1])) as s: print(s.images())"
    argv = [sys.executable, "-c", script, os.fspath(tmp_path / "home")]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["[]"] * 4
    assert [process.returncode for process in processes] == [0] * 4


def test_owners_are_told_apart() -> None:
    me = Owner.current()
    assert me.alive()
    assert Owner.parse(str(me)) == me
    assert not evolve(me, start=me.start + 1).alive()
    assert not evolve(me, boot="00000000").alive()
    assert not dead_owner().alive()
    for text in ("", "x", "1-2", "a-b-c", "../-1-2"):
        assert Owner.parse(text) is None


async def test_locks_exclude_wait_and_leave_no_file(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with locks.hold("name", patience=30):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 1
    async with locks.hold("a", patience=1), locks.hold("b", patience=1):
        with locks.hold_now("a") as held:
            assert not held
    assert os.listdir(tmp_path) == []  # noqa: PTH208
