"""The merger's promises: repeat, concurrency, cancellation, crashes, bounds, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from monocore_layer_erofs import PROVIDER, ErofsOptions

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, StorageError, Unsupported
from monocore_core.interfaces.provider import Host
from monocore_core.layertar import EntryKind, Whiteout
from monocore_core.model.events import Event, Warned, ignore
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DiskFormat, DiskRoot, RootFs
from monocore_core.testing.erofs_reader import Image, join_vmdk
from monocore_core.testing.layer_model import LayerMember, Member, apply_layers
from monocore_core.testing.layers import layer_file, tar_of

BASE: tuple[LayerMember, ...] = (
    Member(b"etc", EntryKind.DIRECTORY, mode=0o755),
    Member(b"etc/passwd", EntryKind.FILE, content=b"root:x:0:0::/:/bin/sh\n"),
    Member(b"big", EntryKind.FILE, content=bytes(range(256)) * 400),
    Member(b"gone", EntryKind.FILE, content=b"no"),
    Member(b"sh", EntryKind.SYMLINK, link=b"bin/sh"),
)
TOP: tuple[LayerMember, ...] = (
    Whiteout(b"gone"),
    Member(b"hard", EntryKind.HARDLINK, link=b"big"),
    # left out with a warning: counts how often the work is done
    Member(b"told", EntryKind.FILE, content=b"!", xattrs={b"com.apple.x": b"1"}),
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Layer, ...]:
    store = tmp_path / "store"
    store.mkdir()
    return tuple(layer_file(store, tar_of(layer)) for layer in (BASE, TOP))


async def use(
    state: Path,
    *,
    key: str = "key",
    layers: Sequence[Layer] = (),
    options: ErofsOptions | None = None,
    emit: Callable[[Event], None] = ignore,
) -> RootFs:
    """Merge with a merger of its own."""
    async with PROVIDER.create(Host(state, state, emit), options or ErofsOptions()) as merger:
        return await merger.merge(key, layers)


def read(root: RootFs) -> Image:
    assert isinstance(root, DiskRoot)
    return Image(join_vmdk(root.path))


def everything(state: Path) -> dict[Path, os.stat_result]:
    return {path: path.stat() for path in state.rglob("*")}


def gnu_tar(folder: Path, name: str, format_: str) -> bytes:
    argv = ["tar", "-c", "-S", f"--format={format_}", "-C", str(folder), name]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout


def remains(state: Path) -> list[str]:
    """Everything but locks."""
    return sorted(
        str(path.relative_to(state))
        for path in state.rglob("*")
        if ".locks" not in path.parts and path.name not in {".work", ".locks"}
    )


async def test_a_root_is_one_disk_over_the_tars(state: Path, layers: tuple[Layer, ...]) -> None:
    root = await use(state, layers=layers)
    assert isinstance(root, DiskRoot)
    assert (root.format, root.filesystem) == (DiskFormat.VMDK, "erofs")
    assert root.files[0] == root.path
    assert {layer.path for layer in layers} < set(root.files)
    assert read(root).tree() == apply_layers([BASE, TOP])


async def test_a_repeat_finds_the_same_without_work(state: Path, layers: tuple[Layer, ...]) -> None:
    told: list[Event] = []
    first = await use(state, layers=layers, emit=told.append)
    before = everything(state)
    async with PROVIDER.create(Host(state, state, told.append), ErofsOptions()) as merger:
        assert await merger.merge("key", layers) == first
        assert await merger.find("key") == first
        assert await merger.keys() == {"key"}
    assert everything(state) == before
    assert len(told) == 1


async def test_unknown_keys(state: Path) -> None:
    async with PROVIDER.create(Host(state, state), ErofsOptions()) as merger:
        assert await merger.find("nothing") is None
        assert await merger.keys() == frozenset()
        await merger.remove("nothing")
        for key in ("", "../x", "A", "x" * 129, ".work"):
            with pytest.raises(InvalidInput, match="not a key"):
                await merger.find(key)
    assert remains(state) == []


async def test_removed_is_gone_and_can_be_made_again(state: Path, layers: tuple[Layer, ...]) -> None:
    async with PROVIDER.create(Host(state, state), ErofsOptions()) as merger:
        first = await merger.merge("key", layers)
        await merger.remove("key")
        assert await merger.find("key") is None
        assert not any(stat.S_ISREG(status.st_mode) for status in everything(state).values())
        assert await merger.merge("key", layers) == first


async def test_many_at_once_do_the_work_once(state: Path, layers: tuple[Layer, ...]) -> None:
    told: list[Event] = []
    roots = await asyncio.gather(*(use(state, layers=layers, emit=told.append) for _ in range(6)))
    assert len(set(roots)) == 1
    assert len(told) == 1


MERGE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from monocore_layer_erofs import PROVIDER, ErofsOptions

def told(event):
    print("worked", flush=True)
    if "--die" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    state, layers = Path(sys.argv[1]), json.loads(sys.argv[2])
    layers = [Layer(Digest.parse(digest), Path(path), size) for digest, path, size in layers]
    async with PROVIDER.create(Host(state, state, told), ErofsOptions()) as merger:
        print((await merger.merge("key", layers)).path)

asyncio.run(main())
"""


def process(state: Path, layers: Sequence[Layer], *words: str) -> subprocess.Popen[str]:
    described = json.dumps([(str(layer.diff_id), str(layer.path), layer.size) for layer in layers])
    argv = [sys.executable, "-c", MERGE, str(state), described, *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_several_processes_do_the_work_once(state: Path, layers: tuple[Layer, ...]) -> None:
    processes = [process(state, layers) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    lines = "".join(outputs).split()
    assert sorted(lines) == sorted(["worked", *[str(state / "key" / "disk.vmdk")] * 3])


async def test_what_a_killed_process_leaves_is_cleaned_up(state: Path, layers: tuple[Layer, ...]) -> None:
    killed = process(state, layers, "--die")
    assert killed.communicate(timeout=60)[0] == "worked\n"
    assert killed.returncode == -signal.SIGKILL
    assert remains(state) == [".work/key"]
    async with PROVIDER.create(Host(state, state), ErofsOptions()) as merger:
        assert remains(state) == []
        assert await merger.find("key") is None
        assert read(await merger.merge("key", layers)).tree() == apply_layers([BASE, TOP])


async def test_cancellation_leaves_nothing(state: Path, layers: tuple[Layer, ...]) -> None:
    loop, gate = asyncio.get_running_loop(), threading.Event()

    def cancel() -> None:
        task.cancel()
        loop.call_later(0.05, gate.set)

    def told(event: Event) -> None:  # in the middle of the work, in its thread
        assert isinstance(event, Warned)
        loop.call_soon_threadsafe(cancel)
        assert gate.wait(10)

    task = asyncio.create_task(use(state, layers=layers, emit=told))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.is_set()
    assert remains(state) == []
    assert read(await use(state, layers=layers)).tree() == apply_layers([BASE, TOP])


@pytest.mark.parametrize("name", ["metadata.erofs", "disk.vmdk", "root.json"])
async def test_a_damaged_root_is_not_found_and_is_made_again(
    state: Path, layers: tuple[Layer, ...], name: str
) -> None:
    root = await use(state, layers=layers)
    os.truncate(state / "key" / name, 100)
    async with PROVIDER.create(Host(state, state), ErofsOptions()) as merger:
        assert await merger.find("key") is None
        assert await merger.keys() == frozenset()
        assert await merger.merge("key", layers) == root
    assert read(root).tree() == apply_layers([BASE, TOP])


async def test_a_root_without_its_layers_is_not_found(
    state: Path, layers: tuple[Layer, ...], tmp_path: Path
) -> None:
    await use(state, layers=layers)
    moved = tuple(Layer(layer.diff_id, tmp_path / layer.path.name, layer.size) for layer in layers)
    for old, new in zip(layers, moved, strict=True):
        old.path.rename(new.path)
    async with PROVIDER.create(Host(state, state), ErofsOptions()) as merger:
        assert await merger.find("key") is None
        root = await merger.merge("key", moved)
    assert {layer.path for layer in moved} < set(root.files if isinstance(root, DiskRoot) else ())


async def test_the_same_layers_give_the_same_bytes(tmp_path: Path, layers: tuple[Layer, ...]) -> None:
    for name in ("one", "two"):
        await use(tmp_path / name, key=name, layers=layers)
    one, two = ((tmp_path / name / name / "metadata.erofs").read_bytes() for name in ("one", "two"))
    assert one == two


async def test_other_layers_give_another_volume(tmp_path: Path, layers: tuple[Layer, ...]) -> None:
    one = read(await use(tmp_path / "one", layers=layers))
    two = read(await use(tmp_path / "two", layers=layers[:1]))
    assert one.uuid != two.uuid
    assert one.name == two.name == b"monocore"


async def test_no_layers_give_an_empty_root(state: Path) -> None:
    assert read(await use(state)).tree() == apply_layers([])


async def test_a_hundred_and_twenty_seven_layers(state: Path, tmp_path: Path) -> None:
    stack: list[tuple[LayerMember, ...]] = [
        (Member(b"f%d" % index, EntryKind.FILE, content=b"%d" % index), Whiteout(b"f%d" % (index - 2)))
        for index in range(127)
    ]
    layers = [layer_file(tmp_path, tar_of(layer)) for layer in stack]
    root = await use(state, layers=layers)
    assert read(root).tree() == apply_layers(stack)


async def test_a_layer_may_stand_twice(state: Path, layers: tuple[Layer, ...]) -> None:
    root = await use(state, layers=(*layers, *layers))
    assert read(root).tree() == apply_layers([BASE, TOP, BASE, TOP])
    assert isinstance(root, DiskRoot)
    assert len(set(root.files)) == len(root.files)


async def test_a_layer_that_nothing_of_remains_is_no_part_of_the_disk(state: Path, tmp_path: Path) -> None:
    stack: list[tuple[LayerMember, ...]] = [
        (Member(b"a", EntryKind.FILE, content=b"old"),),
        (Member(b"a", EntryKind.FILE, content=b"new"),),
    ]
    layers = [layer_file(tmp_path, tar_of(layer)) for layer in stack]
    root = await use(state, layers=layers)
    assert isinstance(root, DiskRoot)
    assert layers[0].path not in root.files
    assert read(root).tree() == apply_layers(stack)


async def test_a_tar_that_ends_within_a_block(state: Path, tmp_path: Path) -> None:
    stack: tuple[LayerMember, ...] = (
        Member(b"whole", EntryKind.FILE, content=b"w" * 600),
        Member(b"ragged", EntryKind.FILE, content=b"r" * 3000),
    )
    tar = tar_of(stack)
    cut = tar.rindex(b"r") + 1
    assert cut % 512
    layer = layer_file(tmp_path, tar[:cut])
    root = await use(state, layers=[layer])
    assert read(root).tree() == apply_layers([stack])


@pytest.mark.parametrize("format_", ["gnu", "oldgnu", "posix"])
@pytest.mark.needs("tar", "tar")
async def test_sparse_files_of_gnu_tar(state: Path, tmp_path: Path, format_: str) -> None:
    source = tmp_path / "sparse"
    expected = bytearray(3_000_001)
    with source.open("wb") as file:
        for offset, data in ((0, b"begin"), (1_000_003, b"x" * 9000), (2_999_990, b"end of file")):
            file.seek(offset)
            file.write(data)
            expected[offset : offset + len(data)] = data
    layer = layer_file(tmp_path, gnu_tar(tmp_path, "sparse", format_))
    assert layer.size < 1_000_000
    found = read(await use(state, layers=[layer])).tree()[b"sparse"]
    assert found.content == bytes(expected)


@pytest.mark.needs("tar", "tar")
async def test_a_file_beyond_four_gib(state: Path, tmp_path: Path) -> None:
    source = tmp_path / "huge"
    with source.open("wb") as file:
        file.truncate(9 << 30)
        os.pwrite(file.fileno(), b"middle", 5 << 30)
    layer = layer_file(tmp_path, gnu_tar(tmp_path, "huge", "posix"))
    source.unlink()
    image = read(await use(state, layers=[layer]))
    inode = image.inode(image.entries(image.inode(image.root))[b"huge"])
    assert inode.size == 9 << 30
    assert len(image.disk) < 1 << 20


async def test_hostile_and_broken_layers_are_refused_by_name(state: Path, tmp_path: Path) -> None:
    missing = layer_file(tmp_path, tar_of([Member(b"h", EntryKind.HARDLINK, link=b"no/such")]))
    garbage = layer_file(tmp_path, b"not a tar at all" * 64)
    good = layer_file(tmp_path, tar_of(BASE))
    short = Layer(good.diff_id, good.path, good.size + 512)
    for layer, words in ((missing, "hard link to 'no/such'"), (garbage, ""), (short, "instead of")):
        with pytest.raises(Corrupt, match=f"layer {layer.diff_id.short}: .*{words}"):
            await use(state, layers=[layer])
    good.path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        await use(state, layers=[good])
    assert remains(state) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ErofsOptions(max_entries=3), "more than 3 entries"),
        (ErofsOptions(max_metadata=2000), "metadata takes more than 2000"),
    ],
)
async def test_bounds_hold(state: Path, layers: tuple[Layer, ...], options: ErofsOptions, words: str) -> None:
    with pytest.raises(LimitExceeded, match=words):
        await use(state, layers=layers, options=options)
    assert remains(state) == []


async def test_a_home_that_no_descriptor_can_name_is_refused(
    tmp_path: Path, layers: tuple[Layer, ...]
) -> None:
    state = tmp_path / 'quo"ted'
    with pytest.raises(Unsupported, match="VMDK descriptor"):
        await use(state, layers=layers)
    assert remains(state) == []


@pytest.mark.root
def test_a_full_disk_is_told_and_nothing_remains(tmp_path: Path, layers: tuple[Layer, ...]) -> None:
    state = tmp_path / "small"
    state.mkdir()
    many = layer_file(tmp_path, tar_of([Member(b"%04d" % index, EntryKind.FIFO) for index in range(3000)]))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(state)], check=True)
    try:
        with pytest.raises(StorageError, match="No space left"):
            asyncio.run(use(state, layers=[many]))
        assert remains(state) == []
        assert read(asyncio.run(use(state, layers=layers))).tree() == apply_layers([BASE, TOP])
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_listing_imports_nothing_of_the_work() -> None:
    code = "import sys, monocore_layer_erofs as m; m.monocore_layer_mergers(); print(*sys.modules)"
    words = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "monocore_layer_erofs.options" in words
    assert not {"asyncio", "cattrs", "monocore_layer_erofs.merger"} & set(words)
