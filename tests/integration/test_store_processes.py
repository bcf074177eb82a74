"""The store among real processes: two that pull at once, one that is killed at any moment, and a disk that is really full.

Run as a program, this file is one of these processes: ``FILE HOME LOG`` pulls an image and appends each download to LOG.
"""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monocore_core.errors import StorageError
from monocore_core.model.digest import Digest
from monocore_core.model.events import Event, Waiting
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference, parse_reference
from monocore_core.store import Limits, Store
from monocore_core.testing.memory import MemoryImage, MemorySource, memory_image

pytestmark = pytest.mark.integration

AMD64 = Platform("linux", "amd64")
NAME = parse_reference("example.org/app:1")
MIB = 1024 * 1024


def big_image() -> MemoryImage:
    """Three layers that do not compress, 12 MiB in all; always the same."""
    return memory_image([random.Random(seed).randbytes(4 * MIB) for seed in range(3)])


def check(store: Store) -> bool:
    """Whether the image is visible; what is visible is whole."""
    assert not list(store.layout.temporaries.iterdir())
    for diff_id, size in store.database.query("SELECT diff_id, size FROM layers"):
        data = store.layout.layer(Digest.parse(str(diff_id))).read_bytes()
        assert (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)) == (diff_id, size)
    return store.find_image(NAME, AMD64) is not None


def start(home: Path, log: Path) -> subprocess.Popen[str]:
    """A process that pulls; it says ``ready`` when it is about to."""
    argv = [sys.executable, __file__, os.fspath(home), os.fspath(log)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_processes_that_pull_at_once_do_the_work_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    processes = [start(tmp_path / "home", log) for _ in range(2)]
    for process in processes:
        go(process)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    image = big_image()
    assert all(str(image.digest) in output for output in outputs)
    assert Counter(log.read_text().split()) == Counter(str(digest) for digest in image.blobs)
    with Store.open(tmp_path / "home") as store:
        assert check(store)


def test_a_process_that_is_killed_at_any_moment_leaves_a_store_that_works(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    log.touch()
    chance = random.Random()
    killed = completed = 0
    for _ in range(8):
        process = start(home, log)
        go(process)
        try:
            process.wait(chance.uniform(0, 0.15))
            completed += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate(timeout=60)
        with Store.open(home) as store:
            if check(store):
                store.remove_image(NAME)
                assert not check(store)
    last = start(home, log)
    go(last)
    assert str(big_image().digest) in last.communicate(timeout=60)[0]
    with Store.open(home) as store:
        assert check(store)
        assert store.prune()[1].layers == 0
    assert killed + completed == 8
    assert killed


@contextmanager
def tmpfs(path: Path, size: int) -> Generator[Path]:
    """A file system of ``size`` bytes."""
    path.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", os.fspath(path)], check=True
    )
    try:
        yield path
    finally:
        subprocess.run(["umount", os.fspath(path)], check=True)


@pytest.mark.root
@pytest.mark.needs("mount", "mount")
@pytest.mark.parametrize("room", [2, 6, 11])
async def test_a_full_disk_fails_the_pull_cleanly_and_room_makes_it_work(tmp_path: Path, room: int) -> None:
    image = big_image()
    source = MemorySource()
    source.add(NAME, image)
    with tmpfs(tmp_path / "disk", 14 * MIB) as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes((14 - room) * MIB))
        with Store.open(disk / "home") as store:
            with pytest.raises(StorageError, match=r"No space left on device|disk is full") as caught:
                await store.pull(source, NAME, AMD64, limits=Limits(parallel=2))
            assert caught.value.hint is not None
            assert "prune" in caught.value.hint
            assert not check(store)
            filler.unlink()
            assert (await store.pull(source, NAME, AMD64)).digest == image.digest
            assert check(store)
        with Store.open(disk / "home") as store:
            assert check(store)


@pytest.mark.root
@pytest.mark.needs("mount", "mount")
async def test_a_disk_without_a_byte_left_can_still_be_freed(tmp_path: Path) -> None:
    image = big_image()
    source = MemorySource()
    source.add(NAME, image)
    with tmpfs(tmp_path / "disk", 14 * MIB) as disk, Store.open(disk / "home") as store:
        await store.pull(source, NAME, AMD64)
        fill(disk / "filler")
        other = parse_reference("example.org/other:1")
        source.add(other, memory_image([random.Random(9).randbytes(MIB)]))
        with pytest.raises(StorageError):
            await store.pull(source, other, AMD64)
        assert check(store)
        refusal = attempt(store.remove_image, NAME)
        if refusal is not None:  # the database has no room to note it: then nothing has changed
            assert refusal.hint is not None
            assert check(store)
            (disk / "filler").unlink()
            store.remove_image(NAME)
        assert not check(store)
        assert not list(store.layout.layers.rglob("*.tar"))


def fill(path: Path) -> None:
    """Take what is left of the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (65536, 4096):
            with suppress(OSError):
                while os.write(fd, bytes(size)):
                    pass
    finally:
        os.close(fd)


def attempt(call: Callable[[Reference], object], reference: Reference) -> StorageError | None:
    """The disk's refusal, if any."""
    try:
        call(reference)
    except StorageError as error:
        return error
    return None


def say(text: str) -> None:
    """A line for the process that started us."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def program(home: Path, log: Path) -> None:
    """See the module's docstring."""
    source = MemorySource(chunk=16 * 1024)
    source.add(NAME, big_image())
    out = os.open(log, os.O_WRONLY | os.O_APPEND)

    async def hook(digest: Digest, offset: int) -> None:
        if offset == 0:
            os.write(out, f"{digest}\n".encode())
        await asyncio.sleep(0)

    source.hook = hook

    def show(event: Event) -> None:
        if isinstance(event, Waiting):
            say("waiting")

    say("ready")
    sys.stdin.readline()
    with Store.open(home) as store:
        image = asyncio.run(store.pull(source, NAME, AMD64, listener=show))
        say(str(image.digest))


if __name__ == "__main__":
    program(Path(sys.argv[1]), Path(sys.argv[2]))
