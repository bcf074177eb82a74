"""Measuring folders that guests wrote into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core.keyed import erase
from monocore_core.store.gc import Usage, tree_usage


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"x" * 5000)
    (tmp_path / "b").hardlink_to(tmp_path / "d" / "a")
    (tmp_path / "c").write_bytes(b"y")
    (tmp_path / "link").symlink_to("/")
    assert (tree_usage(tmp_path).files, tree_usage(tmp_path).bytes) == (3, 5002)
    assert tree_usage(tmp_path / "nothing") == Usage()


def test_folders_may_be_deeper_than_the_stack(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert tree_usage(tmp_path).files == 1
    erase(tmp_path / "d")


@pytest.mark.root
def test_what_is_mounted_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "mnt")], check=True)
    try:
        (tmp_path / "mnt" / "inside").touch()
        assert tree_usage(tmp_path).files == 1
    finally:
        subprocess.run(["umount", str(tmp_path / "mnt")], check=True)
