"""Private copies: equal to their base in everything, independent of it, and without data of their own where reflinks exist."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from monocore_layer_copy import PRIVATE, PrivateOptions
from monocore_layer_copy.clone import clone_folder

from monocore_core.foldertree import Keep, Limits, merge_into
from monocore_core.interfaces.provider import Host
from monocore_core.layertar import EntryKind
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot, Ownership, RootFs
from monocore_core.testing.folder_reader import read_folder
from monocore_core.testing.layer_model import Member
from monocore_core.testing.layers import Stack, layer_file, stacks, tar_of

MIB = 1 << 20


def go_on() -> None:
    pass


def cloned(stack: Stack, ownership: Ownership) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layers = [layer_file(folder, tar_of(layer)) for layer in stack]
        merge_into(folder / "one", layers, Keep(ownership), Limits(), go_on)
        clone_folder(folder / "one", folder / "two", ownership, go_on)
        assert read_folder(folder / "two") == read_folder(folder / "one")


@pytest.mark.root
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(layers=2))
def test_a_copy_is_equal(stack: Stack) -> None:
    cloned(stack, Ownership.NATIVE)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(layers=2))
def test_a_users_copy_is_equal(stack: Stack) -> None:
    cloned(stack, Ownership.OVERRIDE_STAT)


def test_holes_stay_holes(tmp_path: Path) -> None:
    source = tmp_path / "one"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        os.pwrite(file.fileno(), b"x" * 5000, 300 * MIB)
        os.pwrite(file.fileno(), b"end", (1 << 30) - 3)
    clone_folder(source, tmp_path / "two", Keep.here().ownership, go_on)
    copy = tmp_path / "two" / "sparse"
    assert copy.stat().st_size == 1 << 30
    assert copy.stat().st_blocks * 512 < MIB
    with copy.open("rb") as file:
        assert os.pread(file.fileno(), 6000, 300 * MIB) == b"x" * 5000 + bytes(1000)
        assert os.pread(file.fileno(), 10, (1 << 30) - 5) == b"\0\0end"


def layer(folder: Path) -> Layer:
    members = [
        Member(b"file%d" % index, EntryKind.FILE, content=os.urandom(MIB), mode=0o644) for index in range(12)
    ]
    return layer_file(folder, tar_of(members))


async def merged(state: Path, key: str, layers: list[Layer], keep_bases: float = 1000.0) -> DirectoryRoot:
    async with PRIVATE.create(Host(state, state), PrivateOptions(keep_bases=keep_bases)) as merger:
        root: RootFs = await merger.merge(key, layers)
    assert isinstance(root, DirectoryRoot)
    return root


async def test_copies_are_independent_and_keep_what_guests_write(tmp_path: Path) -> None:
    layers = [layer(tmp_path)]
    one = await merged(tmp_path / "state", "one", layers)
    (one.path / "file0").write_bytes(b"changed")
    (one.path / "file1").unlink()
    two = await merged(tmp_path / "state", "two", layers)
    assert await merged(tmp_path / "state", "one", layers) == one
    assert (one.path / "file0").read_bytes() == b"changed"
    assert len((two.path / "file0").read_bytes()) == MIB
    assert (two.path / "file1").exists()
    assert (one.path / "file2").stat().st_ino != (two.path / "file2").stat().st_ino


def bases(state: Path) -> list[Path]:
    return [path for path in (state / ".bases").iterdir() if not path.name.startswith(".")]


async def test_a_base_goes_when_it_was_not_used_for_long(tmp_path: Path) -> None:
    state, layers = tmp_path / "state", [layer(tmp_path)]
    root = await merged(state, "one", layers)
    [base] = bases(state)
    long_ago = (base / "root.json").stat().st_mtime - 2000
    os.utime(base / "root.json", (long_ago, long_ago))
    await merged(state, "two", layers, keep_bases=10_000.0)  # used again
    async with PRIVATE.create(Host(state, state), PrivateOptions(keep_bases=1000.0)):
        assert bases(state) == [base]
    os.utime(base / "root.json", (long_ago, long_ago))
    async with PRIVATE.create(Host(state, state), PrivateOptions(keep_bases=1000.0)) as merger:
        assert bases(state) == []
        assert await merger.keys() == {"one", "two"}
    assert len((root.path / "file3").read_bytes()) == MIB


async def test_a_base_that_is_being_copied_stays(tmp_path: Path) -> None:
    state, layers = tmp_path / "state", [layer(tmp_path)]
    async with (
        PRIVATE.create(Host(state, state), PrivateOptions(keep_bases=0.0)) as one,
        PRIVATE.create(Host(state, state), PrivateOptions(keep_bases=0.0)) as two,
    ):
        many = [one.merge(f"key-{index}", layers) for index in range(4)]
        await asyncio.gather(*many, *(two.remove(f"other-{index}") for index in range(20)))
        await asyncio.gather(*(one.remove(f"key-{index}") for index in range(4)))
        assert bases(state) == []


@contextmanager
def loop_file_system(folder: Path, argv: list[str]) -> Generator[Path]:
    """A fresh file system on a file, mounted."""
    disk, target = folder / "disk", folder / "mnt"
    with disk.open("wb") as file:
        file.truncate(512 * MIB)
    target.mkdir()
    subprocess.run([*argv, str(disk)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(disk), str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def used(file_system: Path) -> int:
    os.sync()
    return shutil.disk_usage(file_system).used


@pytest.mark.root
@pytest.mark.integration
@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["mkfs.btrfs", "-q"], marks=pytest.mark.needs("mkfs.btrfs", "btrfs-progs"), id="btrfs"),
        pytest.param(
            ["mkfs.xfs", "-q", "-m", "reflink=1"], marks=pytest.mark.needs("mkfs.xfs", "xfsprogs"), id="xfs"
        ),
    ],
)
def test_a_further_sandbox_costs_no_data_where_reflinks_exist(tmp_path: Path, argv: list[str]) -> None:
    layers = [layer(tmp_path)]
    with loop_file_system(tmp_path, argv) as place:
        state = place / "state"
        one = asyncio.run(merged(state, "one", layers))
        before = used(place)
        two = asyncio.run(merged(state, "two", layers))
        assert used(place) - before < MIB  # of 12
        assert read_folder(one.path) == read_folder(two.path)
        (two.path / "file0").write_bytes(os.urandom(4 * MIB))
        assert used(place) - before > 3 * MIB  # what is changed does cost: this measures something
        assert len((one.path / "file0").read_bytes()) == MIB
