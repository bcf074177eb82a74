"""The merger's promises: sharing, repeats, crashes, reboots, and what happens where nothing can be mounted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve
from monocore_layer_overlayfs import PROVIDER, OverlayOptions
from monocore_layer_overlayfs import mount as mounts
from monocore_layer_overlayfs.mount import MAX_LAYERS, Overlay, mounted, mounts_below, unmount

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, StorageError
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Host
from monocore_core.layertar import EntryKind, Whiteout
from monocore_core.model.events import Event, Warned, ignore
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot, RootFs
from monocore_core.testing.folder_reader import mapped, read_folder
from monocore_core.testing.layer_model import Found, LayerMember, Member, apply_layers
from monocore_core.testing.layers import layer_file, tar_of

ROOT = os.geteuid() == 0
BASE: tuple[LayerMember, ...] = (
    Member(b"", EntryKind.DIRECTORY, mode=0o755),
    Member(b"etc", EntryKind.DIRECTORY, mode=0o755),
    Member(b"etc/passwd", EntryKind.FILE, content=b"root:x:0:0::/:/bin/sh\n"),
    Member(b"big", EntryKind.FILE, content=bytes(range(256)) * 400),
    Member(b"gone", EntryKind.FILE, content=b"no"),
)
TOP: tuple[LayerMember, ...] = (
    Whiteout(b"gone"),
    # left out with a warning: counts how often the work is done
    Member(b"told", EntryKind.FILE, content=b"!", xattrs={b"com.apple.x": b"1"}),
)
OTHER: tuple[LayerMember, ...] = (Member(b"other", EntryKind.FILE, content=b"other"),)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Layer, ...]:
    store = tmp_path / "store"
    store.mkdir()
    return tuple(layer_file(store, tar_of(layer)) for layer in (BASE, TOP))


@asynccontextmanager
async def opened(
    state: Path, emit: Callable[[Event], None] = ignore, *, keep: bool = False, max_entries: int = 100_000
) -> AsyncGenerator[LayerMerger]:
    """A merger whose roots go at the end, that no mount remains."""
    async with PROVIDER.create(Host(state, state, emit), OverlayOptions(max_entries)) as merger:
        try:
            yield merger
        finally:
            for key in () if keep else await merger.keys():
                await merger.remove(key)


def read(root: RootFs | None) -> dict[bytes, Found]:
    assert isinstance(root, DirectoryRoot)
    return mapped(read_folder(root.path), without_owner)


def without_owner(found: Found) -> Found:
    return evolve(found, uid=0, gid=0, mode=0, xattrs={})


def expected(*stack: Sequence[LayerMember]) -> dict[bytes, Found]:
    return mapped(apply_layers(stack), without_owner)


def folders(state: Path) -> set[str]:
    """Names of the layers' folders."""
    return {path.name for path in (state / ".layers").iterdir() if not path.name.startswith(".")}


def remains(state: Path) -> list[str]:
    ours = {".work", ".locks", ".layers", ".layers.lock"}
    return sorted(
        str(path.relative_to(state))
        for path in state.rglob("*")
        if ".locks" not in path.parts and path.name not in ours
    )


def warnings(events: Sequence[Event], words: str) -> list[str]:
    return [event.text for event in events if isinstance(event, Warned) and words in event.text]


async def test_a_repeat_finds_the_same_without_work(state: Path, layers: tuple[Layer, ...]) -> None:
    told: list[Event] = []
    async with opened(state, told.append) as merger:
        first = await merger.merge("key", layers)
        assert isinstance(first, DirectoryRoot)
        assert not first.writable
        assert read(first) == expected(BASE, TOP)
        assert await merger.merge("key", layers) == first
        assert await merger.find("key") == first
        assert await merger.keys() == {"key"}
        assert mounted(first.path) == ROOT
    assert len(warnings(told, "com.apple")) == 1
    assert len(warnings(told, "instead of mounting")) == (not ROOT)
    assert remains(state) == []


async def test_unknown_keys(state: Path) -> None:
    async with opened(state) as merger:
        assert await merger.find("nothing") is None
        assert await merger.keys() == frozenset()
        await merger.remove("nothing")
        for key in ("", "../x", "A", "x" * 129, ".work", ".layers"):
            with pytest.raises(InvalidInput, match="not a key"):
                await merger.find(key)
    assert remains(state) == []


@pytest.mark.root
async def test_layers_are_made_once_for_all_images(
    state: Path, tmp_path: Path, layers: tuple[Layer, ...]
) -> None:
    other = layer_file(tmp_path, tar_of(OTHER))
    async with opened(state) as merger:
        await merger.merge("one", layers)
        first = folders(state)
        assert len(first) == 3  # the empty one below all
        two = await merger.merge("two", [layers[0], other])
        assert first < folders(state)
        assert len(folders(state)) == 4
        assert read(two) == expected(BASE, OTHER)
        await merger.remove("one")
        assert len(folders(state)) == 3
        assert read(two) == expected(BASE, OTHER)
    assert remains(state) == []


async def test_many_at_once_do_the_work_once(state: Path, layers: tuple[Layer, ...]) -> None:
    told: list[Event] = []
    async with opened(state, told.append) as one, opened(state, told.append) as two:
        roots = await asyncio.gather(*(merger.merge("key", layers) for merger in (one, two, one, two)))
    assert len(set(roots)) == 1
    assert len(warnings(told, "com.apple")) == 1
    assert remains(state) == []


def options_of(target: Path) -> set[str]:
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    [options] = [words[5] for words in lines if words[4] == str(target)]
    return set(options.split(","))


@pytest.mark.root
async def test_the_mount_can_neither_be_written_nor_misused(state: Path, layers: tuple[Layer, ...]) -> None:
    async with opened(state) as merger:
        root = await merger.merge("key", layers)
        assert isinstance(root, DirectoryRoot)
        with pytest.raises(OSError, match="Read-only"):
            os.open(root.path / "new", os.O_CREAT | os.O_WRONLY)
        assert {"ro", "nosuid", "nodev", "noexec"} <= options_of(root.path)


@pytest.mark.root
async def test_after_a_reboot_the_next_merge_mounts_again(state: Path, layers: tuple[Layer, ...]) -> None:
    async with opened(state, keep=True) as merger:
        root = await merger.merge("key", layers)
    assert isinstance(root, DirectoryRoot)
    unmount(root.path)  # all that a reboot does to it
    told: list[Event] = []
    async with opened(state, told.append) as merger:
        assert await merger.find("key") is None
        assert await merger.keys() == {"key"}
        assert await merger.merge("key", layers) == root
        assert read(root) == expected(BASE, TOP)
        assert await merger.find("key") == root
        assert told == []  # nothing was written again
    assert remains(state) == []


@pytest.mark.root
async def test_a_layer_that_went_is_made_again(state: Path, layers: tuple[Layer, ...]) -> None:
    async with opened(state, keep=True) as merger:
        root = await merger.merge("key", layers)
    assert isinstance(root, DirectoryRoot)
    unmount(root.path)
    for name in folders(state):
        (state / ".layers" / name / "root.json").unlink()
    async with opened(state) as merger:
        assert read(await merger.merge("key", layers)) == expected(BASE, TOP)
    assert remains(state) == []


@pytest.mark.root
async def test_mounts_without_a_record_are_taken_away(state: Path, layers: tuple[Layer, ...]) -> None:
    async with opened(state, keep=True) as merger:
        root = await merger.merge("key", layers)
        kept = await merger.merge("kept", layers)
    assert isinstance(root, DirectoryRoot)
    assert isinstance(kept, DirectoryRoot)
    (state / "key" / "root.json").unlink()
    stray = state / "stray" / "somewhere"
    stray.mkdir(parents=True)
    await asyncio.to_thread(subprocess.run, ["mount", "-t", "tmpfs", "tmpfs", str(stray)], check=True)
    async with opened(state) as merger:
        assert mounts_below(state) == [kept.path]
        assert await merger.keys() == {"kept"}
        assert read(await merger.merge("key", layers)) == expected(BASE, TOP)
    assert mounts_below(state) == []


MERGE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from monocore_layer_overlayfs import PROVIDER, merger, trial

def die(*args):
    print("dies", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def told(event):
    print("told", event.text, flush=True)

def after(module, name):
    real = getattr(module, name)
    def do(*args):
        real(*args)
        die()
    setattr(module, name, do)

WHERE = {
    "in the trial": lambda: after(trial, "mount"),
    "in a layer": lambda: after(merger, "write_tree"),
    "before the mount": lambda: setattr(merger, "mount", die),
    "after the mount": lambda: after(merger, "mount"),
}

async def main():
    state, layers = Path(sys.argv[1]), json.loads(sys.argv[2])
    layers = [Layer(Digest.parse(digest), Path(path), size) for digest, path, size in layers]
    for word in sys.argv[3:]:
        WHERE[word]()
    async with PROVIDER.create(Host(state, state, told), PROVIDER.options()) as opened:
        root = await opened.merge("key", layers)
        print(sorted(os.listdir(root.path)), flush=True)
        await opened.remove("key")

asyncio.run(main())
"""


def argv(state: Path, layers: Sequence[Layer], *words: str) -> list[str]:
    described = json.dumps([(str(layer.diff_id), str(layer.path), layer.size) for layer in layers])
    return [sys.executable, "-c", MERGE, str(state), described, *words]


@pytest.mark.root
@pytest.mark.parametrize("where", ["in the trial", "in a layer", "before the mount", "after the mount"])
async def test_what_a_killed_process_leaves_is_cleaned_up(
    state: Path, layers: tuple[Layer, ...], where: str
) -> None:
    killed = await asyncio.to_thread(
        subprocess.run, argv(state, layers, where), capture_output=True, text=True
    )
    assert killed.stdout == "dies\n", killed.stderr
    assert killed.returncode == -signal.SIGKILL
    assert len(mounts_below(state)) == (where in {"in the trial", "after the mount"})
    async with opened(state) as merger:
        if where == "after the mount":
            assert read(await merger.find("key")) == expected(BASE, TOP)
        else:
            assert mounts_below(state) == []
            assert await merger.find("key") is None
        assert read(await merger.merge("key", layers)) == expected(BASE, TOP)
        assert len(mounts_below(state)) == 1
    assert mounts_below(state) == []
    assert remains(state) == []


async def test_failures_leave_nothing(state: Path, tmp_path: Path, layers: tuple[Layer, ...]) -> None:
    missing = layer_file(tmp_path, tar_of([Member(b"h", EntryKind.HARDLINK, link=b"no/such")]))
    async with opened(state, max_entries=6) as merger:
        with pytest.raises(Corrupt, match=f"layer {missing.diff_id.short}: .*hard link to 'no/such'"):
            await merger.merge("key", [layers[0], missing])
        with pytest.raises(LimitExceeded, match="more than 6 entries"):
            await merger.merge("key", layers)
        gone = Layer(layers[0].diff_id, tmp_path / "gone", layers[0].size)
        with pytest.raises(StorageError, match="No such file"):
            await merger.merge("key", [gone])
        assert await merger.keys() == frozenset()
    assert remains(state) == []
    assert mounts_below(state) == []


async def test_cancellation_leaves_nothing(
    state: Path, layers: tuple[Layer, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled when all is written, and while it is being mounted or copied."""
    loop = asyncio.get_running_loop()
    from monocore_layer_overlayfs import merger as module

    name = "mount" if ROOT else "merge_into"
    real: Callable[..., None] = getattr(module, name)

    def cancelled(*args: object) -> None:
        loop.call_soon_threadsafe(task.cancel)
        real(*args)

    monkeypatch.setattr(module, name, cancelled)
    async with opened(state) as merger:
        task = asyncio.create_task(merger.merge("key", layers))
        with pytest.raises(asyncio.CancelledError):
            await task
        monkeypatch.setattr(module, name, real)
        assert mounts_below(state) == []
        assert remains(state) == []
        assert read(await merger.merge("key", layers)) == expected(BASE, TOP)
    assert remains(state) == []


def many(folder: Path, count: int) -> tuple[list[tuple[LayerMember, ...]], list[Layer]]:
    stack: list[tuple[LayerMember, ...]] = [
        (Member(b"f%d" % index, EntryKind.FILE, content=b"%d" % index), Whiteout(b"f%d" % (index - 2)))
        for index in range(count)
    ]
    return stack, [layer_file(folder, tar_of(layer)) for layer in stack]


@pytest.mark.root
@pytest.mark.parametrize("way", ["mount_by_layers", "mount_by_names"])
def test_more_layers_than_a_page_of_options_holds(tmp_path: Path, way: str) -> None:
    layers: list[Path] = []
    for index in range(MAX_LAYERS):
        layer = tmp_path / ("layer-of-a-long-name" * 4) / ("n" * 250) / f"{index:>03}"
        layer.mkdir(parents=True)
        (layer / f"{index}").touch()
        layers.append(layer)
    (tmp_path / "names").mkdir()
    for number, layer in enumerate(layers):
        (tmp_path / "names" / str(number)).symlink_to(layer)
    target = tmp_path / "target"
    target.mkdir()
    overlay = Overlay(layers, tmp_path / "names", target, userxattr=False)
    here = Path.cwd()
    try:
        getattr(mounts, way)(overlay)
    except OSError as error:
        if way == "mount_by_layers" and error.errno in {22, 38}:
            pytest.skip(f"this kernel does not take layers one by one: {error}")
        raise
    try:
        assert len(list(target.iterdir())) == MAX_LAYERS
        assert Path.cwd() == here
    finally:
        unmount(target)


@pytest.mark.root
@pytest.mark.slow
async def test_more_layers_than_overlayfs_stacks(state: Path, tmp_path: Path) -> None:
    stack, layers = many(tmp_path, MAX_LAYERS + 30)
    told: list[Event] = []
    async with opened(state, told.append) as merger:
        assert read(await merger.merge("key", layers)) == expected(*stack)
        assert told == []
    assert remains(state) == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([Member(b"w", EntryKind.CHARACTER, device=(0, 0))], "'w' is number 0:0"),
        (
            [Member(b"f", EntryKind.FILE, xattrs={b"trusted.overlay.opaque": b"y"})],
            "'f' has the attribute 'trusted.overlay.opaque'",
        ),
    ],
)
async def test_what_overlayfs_would_misunderstand_is_copied(
    state: Path, tmp_path: Path, members: list[LayerMember], words: str
) -> None:
    told: list[Event] = []
    async with opened(state, told.append) as merger:
        root = await merger.merge("key", [layer_file(tmp_path, tar_of(members))])
        assert isinstance(root, DirectoryRoot)
        assert read_folder(root.path) == apply_layers([members])
        assert not mounted(root.path)
        assert folders(state) == set()
    [text] = warnings(told, "copies the layers instead of mounting them")
    assert words in text


@pytest.mark.root
async def test_a_kernel_that_refuses_leads_to_a_copy(
    state: Path, layers: tuple[Layer, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(overlay: Overlay) -> None:
        raise OSError(19, "No such device")

    from monocore_layer_overlayfs import trial

    monkeypatch.setattr(trial, "mount", refuse)
    told: list[Event] = []
    async with opened(state, told.append) as merger:
        root = await merger.merge("key", layers)
        assert read(root) == expected(BASE, TOP)
        assert await merger.find("key") == root
    [text] = warnings(told, "copies the layers")
    assert "No such device" in text
    assert remains(state) == []


@pytest.mark.root
@pytest.mark.needs("unshare", "util-linux")
def test_in_a_user_namespace(state: Path, layers: tuple[Layer, ...]) -> None:
    """As root of a namespace of its own, where only user.overlay.* attributes can be set."""
    state.mkdir()
    inside = ["unshare", "--user", "--map-root-user", "--mount", *argv(state, layers)]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(f"user namespaces are not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "instead of mounting" not in done.stdout
    assert done.stdout.endswith("['big', 'etc', 'told']\n")
    assert remains(state) == []


def test_listing_imports_nothing_of_the_work() -> None:
    code = "import sys, monocore_layer_overlayfs as m; m.monocore_layer_mergers(); print(*sys.modules)"
    words = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "monocore_layer_overlayfs.options" in words
    assert not {"asyncio", "cattrs", "monocore_layer_overlayfs.merger"} & set(words)
