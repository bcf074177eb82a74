"""Runs under the shim, in a process of its own: one piece of work, again and again, each time on a disk that fails at another call.

``python driver.py WORK FOLDER EVERY``; prints how many calls failed and how many times the work refused, or says what went wrong and exits with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path

from monocore_layer_erofs import PROVIDER, ErofsOptions

from monocore_core.errors import MonocoreError, StorageError
from monocore_core.interfaces.provider import Host
from monocore_core.layertar import EntryKind
from monocore_core.logs import LogLimits, LogQuery, LogStore, Stream
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from monocore_core.model.oci import Platform
from monocore_core.model.rootfs import DiskRoot
from monocore_core.reference import Reference
from monocore_core.store import Store
from monocore_core.testing.erofs_reader import Image, join_vmdk
from monocore_core.testing.layer_model import Member
from monocore_core.testing.layers import tar_of
from monocore_core.testing.memory import MemorySource, memory_image

SHIM = ctypes.CDLL(None)
SHIM.shim_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
SHIM.shim_calls.restype = ctypes.c_long
#: A full disk, a full quota, a disk that is broken, one that the kernel has made read-only.
FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
#: More calls than any of this makes.
MOST = 600
AMD64 = Platform("linux", "amd64")
NAME = Reference("docker.io", "library/test", "1")
IMAGE = memory_image([b"a" * 70_000, b"b" * 200_000])


class Disk:
    """The disk of one round.

    Attributes:
        refusals: how often the work refused, with its words.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refusals: list[str] = []

    @contextlib.contextmanager
    def failing(self, at: int, number: int, *, forever: bool) -> Generator[None]:
        """From the ``at``-th call on, or at that call alone, writing fails; refusing so in a sentence is right."""
        SHIM.shim_arm(os.fsencode(self.folder), at, number, int(forever))
        try:
            yield
        except StorageError as error:
            self.refusals.append(error.brief)
            if not error.hint or "\n" in error.brief:
                raise AssertionError(
                    f"a refusal that does not help: {error.brief!r}, {error.hint!r}"
                ) from error
        except MonocoreError as error:
            raise AssertionError(f"{type(error).__name__} instead of StorageError: {error.brief}") from error
        finally:
            SHIM.shim_disarm()


Round = Callable[[Disk, int, int, bool], None]


def pull(store: Store) -> Digest:
    """Pull the image."""
    source = MemorySource(chunk=50_000)
    source.add(NAME, IMAGE)
    return asyncio.run(store.pull(source, NAME, AMD64)).digest


def check(store: Store) -> None:
    """Everything visible is whole."""
    for image in store.images():
        for layer in image.layers:
            assert hashlib.sha256(layer.path.read_bytes()).hexdigest() == layer.diff_id.hex
    for diff_id, size in store.database.query("SELECT diff_id, size FROM layers"):
        assert store.layout.layer(Digest.parse(str(diff_id))).stat().st_size == size
    assert store.database.query("PRAGMA integrity_check") == [("ok",)]


def work_store(disk: Disk, at: int, number: int, forever: bool) -> None:
    """A store that is new, and one that is open already: made, pulled into, collected."""
    with disk.failing(at, number, forever=forever), Store.open(disk.folder) as store:
        pull(store)
        store.volumes.create("data")
        store.remove_image(NAME)
        store.prune()
    calls = SHIM.shim_calls()
    with Store.open(disk.folder) as store:
        check(store)
        assert pull(store) == IMAGE.digest
        check(store)
        store.remove_image(NAME)
        store.prune(all_unused=True)
        with disk.failing(at, number, forever=forever):
            pull(store)
        check(store)
        assert pull(store) == IMAGE.digest, "the same open store goes on"
        check(store)
    SHIM.shim_arm(b"/nowhere", 0, 0, 0)
    disk_calls(max(calls, 1))


_calls = [0]


def disk_calls(count: int) -> None:
    """Remember how many calls the round made."""
    _calls[0] = count


def work_log(disk: Disk, at: int, number: int, forever: bool) -> None:
    """A log that rotates: writing never raises, what is kept is in order, and what is lost is told."""
    logs = LogStore(disk.folder, LogLimits(segment_bytes=4096, sandbox_bytes=20_000))
    lines = [b"%04d %s\n" % (count, b"x" * 200) for count in range(60)]
    position = 0
    with disk.failing(at, number, forever=forever), logs.open("web-1") as log:
        for count, line in enumerate(lines):
            position = log.append("1", Stream.STDOUT, position, line, time_ns=count + 1)
    disk_calls(SHIM.shim_calls())
    with logs.open("web-1") as log:
        position = log.written("1", Stream.STDOUT)
        position = log.append("1", Stream.STDOUT, position, b"after\n", time_ns=1000)
    found = [line.data for line in logs.reader("web-1").lines(LogQuery()) if line.stream is Stream.STDOUT]
    assert found[-1] == b"after"
    assert found[:-1] == sorted(set(found[:-1])), "in order, none twice"
    assert all(line + b"\n" in lines for line in found[:-1]), "none damaged"


TAR = tar_of([Member(b"f", EntryKind.FILE, content=b"words" * 300), Member(b"d", EntryKind.DIRECTORY)])


def work_root(disk: Disk, at: int, number: int, forever: bool) -> None:
    """A merged root."""
    tar = disk.folder.with_name("layer.tar")
    tar.write_bytes(TAR)
    layers = [Layer(Digest.of(TAR), tar, len(TAR))]

    async def merge() -> DiskRoot:
        host = Host(disk.folder / "state", disk.folder / "cache")
        async with PROVIDER.create(host, ErofsOptions()) as merger:
            root = await merger.merge("key", layers)
        assert isinstance(root, DiskRoot)
        return root

    with disk.failing(at, number, forever=forever):
        asyncio.run(merge())
    disk_calls(SHIM.shim_calls())
    root = asyncio.run(merge())
    assert Image(join_vmdk(root.path)).tree()[b"f"].content == b"words" * 300


WORKS: dict[str, Round] = {"store": work_store, "log": work_log, "root": work_root}


def main(work: str, folder: str, every: str) -> int:
    """Fail at each call in turn, or at every so many-th, until the work makes no more."""
    failed, refused = 0, 0
    for at in range(1, MOST, int(every)):
        disk = Disk(Path(folder, str(at)))
        disk.folder.mkdir(mode=0o700)
        number, forever = FAILURES[at % len(FAILURES)], at // len(FAILURES) % 2 == 0
        try:
            WORKS[work](disk, at, number, forever)
        except BaseException as error:
            error.add_note(f"call {at}, {errno.errorcode[number]}, {'from then on' if forever else 'once'}")
            raise
        if _calls[0] < at:
            break
        failed += 1
        refused += bool(disk.refusals)
        shutil.rmtree(disk.folder)
    sys.stdout.write(f"{failed} {refused}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
