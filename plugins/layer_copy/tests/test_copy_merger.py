"""The promises of both mergers: repeat, concurrency, cancellation, crashes, bounds, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from attrs import evolve
from monocore_layer_copy import PRIVATE, SHARED, CopyOptions, PrivateOptions

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

BASE: tuple[LayerMember, ...] = (
    Member(b"", EntryKind.DIRECTORY, mode=0o755),
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
NAMES = ("layer_copy", "layer_copy_private")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Layer, ...]:
    store = tmp_path / "store"
    store.mkdir()
    return tuple(layer_file(store, tar_of(layer)) for layer in (BASE, TOP))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(
    name: str, state: Path, emit: Callable[[Event], None] = ignore, *, max_entries: int = 100_000
) -> AbstractAsyncContextManager[LayerMerger]:
    host = Host(state, state, emit)
    if name == "layer_copy":
        return SHARED.create(host, CopyOptions(max_entries))
    return PRIVATE.create(host, PrivateOptions(max_entries, keep_bases=0.0))


async def use(
    name: str, state: Path, layers: Sequence[Layer], emit: Callable[[Event], None] = ignore
) -> RootFs:
    """Merge with a merger of its own."""
    async with opened(name, state, emit) as merger:
        return await merger.merge("key", layers)


def read(root: RootFs) -> dict[bytes, Found]:
    """The folder, but for what depends on who runs the test; owners and modes have tests of their own."""
    assert isinstance(root, DirectoryRoot)
    return mapped(read_folder(root.path), without_owner)


def without_owner(found: Found) -> Found:
    return evolve(found, uid=0, gid=0, mode=0, xattrs={})


def expected(*stack: Sequence[LayerMember]) -> dict[bytes, Found]:
    return mapped(apply_layers(stack), without_owner)


def remains(state: Path) -> list[str]:
    """Everything but locks and empty folders of ours."""
    return sorted(
        str(path.relative_to(state))
        for path in state.rglob("*")
        if ".locks" not in path.parts and path.name not in {".work", ".locks", ".bases"}
    )


def everything(state: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in state.rglob("*")}


def worked(events: Sequence[Event]) -> int:
    return sum(isinstance(event, Warned) and "com.apple.x" in event.text for event in events)


async def test_a_root_is_a_folder(name: str, state: Path, layers: tuple[Layer, ...]) -> None:
    root = await use(name, state, layers)
    assert isinstance(root, DirectoryRoot)
    assert root.writable == (name == "layer_copy_private")
    assert read(root) == expected(BASE, TOP)
    assert os.stat(root.path / "hard").st_nlink == 2  # noqa: PTH116
    assert os.stat(state).st_mode & 0o777 == 0o700  # noqa: PTH116 - others cannot reach setuid files


async def test_a_repeat_finds_the_same_without_work(
    name: str, state: Path, layers: tuple[Layer, ...]
) -> None:
    told: list[Event] = []
    async with opened(name, state, told.append) as merger:
        first = await merger.merge("key", layers)
        before = everything(state)
        assert await merger.merge("key", layers) == first
        assert await merger.find("key") == first
        assert await merger.keys() == {"key"}
        assert everything(state) == before
    assert worked(told) == 1


async def test_unknown_keys(name: str, state: Path) -> None:
    async with opened(name, state) as merger:
        assert await merger.find("nothing") is None
        assert await merger.keys() == frozenset()
        await merger.remove("nothing")
        for key in ("", "../x", "A", "x" * 129, ".work", ".bases"):
            with pytest.raises(InvalidInput, match="not a key"):
                await merger.find(key)
    assert remains(state) == []


async def test_removed_is_gone_and_can_be_made_again(
    name: str, state: Path, layers: tuple[Layer, ...]
) -> None:
    async with opened(name, state) as merger:
        first = await merger.merge("key", layers)
        await merger.remove("key")
        assert await merger.find("key") is None
        assert remains(state) == []
        assert await merger.merge("key", layers) == first


async def test_many_at_once_do_the_work_once(name: str, state: Path, layers: tuple[Layer, ...]) -> None:
    told: list[Event] = []
    async with opened(name, state, told.append) as one, opened(name, state, told.append) as two:
        roots = await asyncio.gather(*(merger.merge("key", layers) for merger in (one, two, one, two)))
    assert len(set(roots)) == 1
    assert worked(told) == 1


MERGE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from monocore_core.interfaces.provider import Host
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
import monocore_layer_copy

def told(event):
    if "com.apple" in event.text:
        print("worked", flush=True)
        if "--die" in sys.argv:
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    name, state, layers = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    layers = [Layer(Digest.parse(digest), Path(path), size) for digest, path, size in layers]
    provider = {p.name: p for p in monocore_layer_copy.monocore_layer_mergers()}[name]
    async with provider.create(Host(state, state, told), provider.options()) as merger:
        print((await merger.merge("key", layers)).path)

asyncio.run(main())
"""


def process(name: str, state: Path, layers: Sequence[Layer], *words: str) -> subprocess.Popen[str]:
    described = json.dumps([(str(layer.diff_id), str(layer.path), layer.size) for layer in layers])
    argv = [sys.executable, "-c", MERGE, name, str(state), described, *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_several_processes_do_the_work_once(name: str, state: Path, layers: tuple[Layer, ...]) -> None:
    processes = [process(name, state, layers) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted("".join(outputs).split()) == sorted(["worked", *[str(state / "key" / "root")] * 3])


async def test_what_a_killed_process_leaves_is_cleaned_up(
    name: str, state: Path, layers: tuple[Layer, ...]
) -> None:
    killed = process(name, state, layers, "--die")
    assert killed.communicate(timeout=60)[0] == "worked\n"
    assert killed.returncode == -signal.SIGKILL
    assert any("/root/" in path for path in remains(state))
    async with opened(name, state) as merger:
        assert remains(state) == []
        assert await merger.find("key") is None
        assert read(await merger.merge("key", layers)) == expected(BASE, TOP)


async def test_cancellation_leaves_nothing(name: str, state: Path, layers: tuple[Layer, ...]) -> None:
    loop, gate = asyncio.get_running_loop(), threading.Event()

    def cancel() -> None:
        task.cancel()
        loop.call_later(0.05, gate.set)

    def told(event: Event) -> None:  # in the middle of the work, in its thread
        if worked([event]):
            loop.call_soon_threadsafe(cancel)
            assert gate.wait(10)

    task = asyncio.create_task(use(name, state, layers, told))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.is_set()
    assert remains(state) == []
    assert read(await use(name, state, layers)) == expected(BASE, TOP)


async def test_a_root_without_its_record_is_made_again(
    name: str, state: Path, layers: tuple[Layer, ...]
) -> None:
    root = await use(name, state, layers)
    assert isinstance(root, DirectoryRoot)
    (root.path / "half").touch()
    os.truncate(state / "key" / "root.json", 10)
    async with opened(name, state) as merger:
        assert await merger.find("key") is None
        assert await merger.keys() == frozenset()
        assert await merger.merge("key", layers) == root
    assert read(root) == expected(BASE, TOP)


async def test_no_layers_give_an_empty_root(name: str, state: Path) -> None:
    assert read(await use(name, state, [])) == expected()


async def test_hostile_and_broken_layers_are_refused_by_name(name: str, state: Path, tmp_path: Path) -> None:
    missing = layer_file(tmp_path, tar_of([Member(b"h", EntryKind.HARDLINK, link=b"no/such")]))
    garbage = layer_file(tmp_path, b"not a tar at all" * 64)
    good = layer_file(tmp_path, tar_of(BASE))
    short = Layer(good.diff_id, good.path, good.size + 512)
    for layer, words in ((missing, "hard link to 'no/such'"), (garbage, ""), (short, "instead of")):
        with pytest.raises(Corrupt, match=f"layer {layer.diff_id.short}: .*{words}"):
            await use(name, state, [layer])
    good.path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        await use(name, state, [good])
    assert remains(state) == []


async def test_nothing_is_written_outside(name: str, state: Path, tmp_path: Path) -> None:
    """Links that lead out, in every place where a path could be followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("safe")
    where = os.fsencode(outside)
    stack: tuple[tuple[LayerMember, ...], ...] = (
        (
            Member(b"a", EntryKind.SYMLINK, link=where),
            Member(b"b", EntryKind.SYMLINK, link=b"../" * 40 + where.lstrip(b"/")),
            Member(b"c", EntryKind.SYMLINK, link=where + b"/victim"),
            Member(b"a/new", EntryKind.FILE, content=b"evil"),
            Member(b"c", EntryKind.FILE, content=b"evil"),
        ),
        (
            Member(b"b/victim", EntryKind.FILE, content=b"evil"),
            Member(b"link", EntryKind.HARDLINK, link=b"b/victim"),
            Whiteout(b"a/victim"),
        ),
    )
    root = await use(name, state, [layer_file(tmp_path, tar_of(layer)) for layer in stack])
    assert read(root) == expected(*stack)
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("victim", "safe")]


async def test_bounds_hold(name: str, state: Path, layers: tuple[Layer, ...]) -> None:
    async with opened(name, state, max_entries=3) as merger:
        with pytest.raises(LimitExceeded, match="more than 3 entries"):
            await merger.merge("key", layers)
    assert remains(state) == []


async def test_deeper_than_paths_and_descriptors_reach(name: str, state: Path, tmp_path: Path) -> None:
    part = b"/".join([b"d" * 100] * 30)
    up = Member(b"l", EntryKind.SYMLINK, link=part)
    over = Member(b"l/m", EntryKind.SYMLINK, link=part)
    stack = (
        up,
        Member(b"l/x", EntryKind.FILE, content=b"1"),
        over,
        Member(b"l/m/y", EntryKind.FILE, content=b"2"),
    )
    root = await use(name, state, [layer_file(tmp_path, tar_of(stack))])
    assert isinstance(root, DirectoryRoot)
    here = os.open(root.path, os.O_RDONLY)
    for _ in range(60):
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    assert os.listdir(here) == ["y"]  # noqa: PTH208 - no path reaches it
    os.close(here)
    async with opened(name, state) as merger:
        await merger.remove("key")
    assert remains(state) == []


@pytest.mark.root
def test_a_full_disk_is_told_and_nothing_remains(
    name: str, tmp_path: Path, layers: tuple[Layer, ...]
) -> None:
    state = tmp_path / "small"
    state.mkdir()
    large = layer_file(tmp_path, tar_of([Member(b"f", EntryKind.FILE, content=bytes(3 << 20))]))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(state)], check=True)
    try:
        with pytest.raises(StorageError, match="No space left"):
            asyncio.run(use(name, state, [large]))
        assert remains(state) == []
        assert read(asyncio.run(use(name, state, layers))) == expected(BASE, TOP)
    finally:
        subprocess.run(["umount", str(state)], check=True)


async def test_what_a_user_cannot_keep_is_said(name: str, state: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("needs not to be root")
    told: list[Event] = []
    stack = (
        Member(b"dev/null", EntryKind.CHARACTER, device=(1, 3)),
        Member(b"dev/zero", EntryKind.CHARACTER, device=(1, 5)),
        Member(b"ping", EntryKind.FILE, mode=0o755, xattrs={b"trusted.x": b"1"}),
    )
    root = await use(name, state, [layer_file(tmp_path, tar_of(stack))], told.append)
    assert isinstance(root, DirectoryRoot)
    assert not (root.path / "dev" / "null").exists()
    said = "\n".join(event.text for event in told if isinstance(event, Warned))
    assert "'dev/null' and 1 more: device nodes are left out" in said
    assert "'ping': extended attribute 'trusted.x' cannot be set here" in said
    assert "every file in the guest belongs to one user" in said


def test_listing_imports_nothing_of_the_work() -> None:
    code = "import sys, monocore_layer_copy as m; m.monocore_layer_mergers(); print(*sys.modules)"
    words = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "monocore_layer_copy.options" in words
    assert not {"asyncio", "cattrs", "monocore_layer_copy.merger"} & set(words)
