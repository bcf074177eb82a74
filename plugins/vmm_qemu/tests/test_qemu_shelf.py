"""Templates on disk: bounded, made by one at a time, clean after a death."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from monocore_vmm_qemu import shelf as shelf_module
from monocore_vmm_qemu.image import PAGE, Captured, blank
from monocore_vmm_qemu.shelf import Shelf

from monocore_core.errors import Corrupt, StorageError
from monocore_core.testing.processes import tree

SIZE = 16 * PAGE


def captured() -> Captured:
    made = blank(SIZE)
    os.pwrite(made.memory, b"z" * SIZE, 0)
    os.pwrite(made.state, b"state", 0)
    return made


def make(shelf: Shelf, key: str) -> None:
    image = captured()
    with shelf.making(key) as folder:
        assert folder is not None
        shelf.keep(key, image, folder)
    image.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "templates"


def test_what_was_kept_is_loaded_and_nothing_else_is_there(folder: Path) -> None:
    shelf = Shelf(folder, 1 << 30)
    assert not shelf.has("a")
    assert shelf.load("a", SIZE) is None
    make(shelf, "a")
    loaded = shelf.load("a", SIZE)
    assert loaded is not None
    loaded.close()
    assert tree(folder) == {"a.template"}
    shelf.drop("a")
    shelf.drop("a")
    assert not tree(folder)


def test_the_least_recently_used_go(folder: Path) -> None:
    shelf = Shelf(folder, 3 * (SIZE + 1000))
    for number, key in enumerate("abc"):
        make(shelf, key)
        os.utime(folder / f"{key}.template", (number, number))
    used = shelf.load("a", SIZE)
    assert used is not None
    used.close()
    make(shelf, "d")
    assert tree(folder) == {"a.template", "c.template", "d.template"}


def test_a_template_larger_than_the_limit_is_kept_alone(folder: Path) -> None:
    shelf = Shelf(folder, 10)
    make(shelf, "a")
    make(shelf, "b")
    assert tree(folder) == {"b.template"}


def test_only_one_makes_a_template(folder: Path) -> None:
    with (
        Shelf(folder, 1).making("a") as first,
        Shelf(folder, 1).making("a") as second,
        Shelf(folder, 1).making("b") as other,
    ):
        assert first is not None
        assert second is None
        assert other is not None
        assert first.is_dir(), "another maker has swept what is in use"


def test_a_full_disk_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Captured, path: Path) -> None:
        del image
        path.write_bytes(b"the beginning")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf_module, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        make(Shelf(folder, 1 << 30), "a")
    assert not tree(folder)


def test_what_a_dead_maker_left_is_swept(folder: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from monocore_vmm_qemu.shelf import Shelf
with Shelf(Path({str(folder)!r}), 1).making("dead") as work:
    (work / "template").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert tree(folder) == {"dead.lock", "dead.work", "dead.work/template"}
    make(Shelf(folder, 1 << 30), "a")
    assert tree(folder) == {"a.template"}


def test_damage_is_told(folder: Path) -> None:
    shelf = Shelf(folder, 1 << 30)
    make(shelf, "a")
    with (folder / "a.template").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"y")
    with pytest.raises(Corrupt):
        shelf.load("a", SIZE)
