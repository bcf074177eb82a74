"""Removing folders that somebody hostile filled."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

from monocore_core.keyed import erase


def deep(folder: Path, levels: int) -> None:
    """A chain of folders that no path can name."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.mknod("pipe", 0o010600, dir_fd=here)
    os.close(here)


def test_deeper_than_paths_stacks_and_descriptors_reach(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    levels = max(sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]) + 100
    deep(target, min(levels, 5000))
    (target / "wide").mkdir()
    for index in range(300):
        (target / "wide" / f"{index}").mkdir()
        (target / "wide" / f"{index}" / "file").touch()
    erase(target)
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    target = tmp_path / "target"
    (target / "in").mkdir(parents=True)
    for place in (target, target / "in"):
        (place / "absolute").symlink_to(outside)
        (place / "relative").symlink_to("../../outside")
    erase(target)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").is_dir()
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(OSError, match="link"):
        erase(tmp_path / "link")
    assert (outside / "kept").is_dir()


def test_modes_do_not_stop_it(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "closed" / "inner" / "more").mkdir(parents=True)
    (target / "closed" / "inner" / "file").touch()
    for path, mode in (
        ("closed/inner/more", 0o000),
        ("closed/inner", 0o500),
        ("closed", 0o000),
        (".", 0o000),
    ):
        (target / path).chmod(mode)
    erase(target)
    assert not target.exists()


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    erase(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / ".0123456789abcdef.0" / "x").mkdir(parents=True)
    erase(target)
    assert not target.exists()
