"""Checkpoints on disk: whole or not there, whatever ends the process; damaged ones are told; strangers' go."""

import json
import os
from pathlib import Path

import pytest

from monocore_core.errors import Conflict, Corrupt, InvalidInput, LimitExceeded, NotFound
from monocore_core.model.checkpoint import Checkpoint
from monocore_core.model.image import Image
from monocore_core.model.record import Placement
from monocore_core.store import Store
from monocore_core.store import checkpoints as module
from monocore_core.store.checkpoints import ABOUT, MACHINE, Checkpoints
from monocore_core.store.layout import Layout
from tests.unit.store.test_committing import base_of

PLACED = Placement("oci_registry", "layer_erofs", "none", "vmm_qemu")
KEY = "0123456789ab"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    with Store.open(tmp_path / "other") as store:
        return base_of(store)


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(Layout.make(tmp_path / "home"))


def make(kept: Checkpoints, image: Image, name: str, key: str = KEY, created: float = 1.0) -> Checkpoint:
    with kept.making(key, name) as folder:
        (folder / MACHINE).write_bytes(b"m" * 9000)
        return kept.keep(folder, key, Checkpoint(name, image, PLACED, "main-1", created))


def test_what_was_kept_is_found_again(kept: Checkpoints, image: Image) -> None:
    later, made = make(kept, image, "later", created=2.0), make(kept, image, "one")
    assert made.size >= 9000
    assert kept.get(KEY, "one") == made
    assert kept.all(KEY) == [made, later]
    assert (kept.path(KEY, "one") / MACHINE).read_bytes() == b"m" * 9000
    kept.remove(KEY, "one")
    assert kept.all(KEY) == [later]
    with pytest.raises(NotFound, match="no checkpoint one"):
        kept.get(KEY, "one")
    with pytest.raises(NotFound, match="no checkpoint one"):
        kept.remove(KEY, "one")
    assert list(kept.layout.temporaries.iterdir()) == []


def test_a_name_is_given_once(kept: Checkpoints, image: Image) -> None:
    make(kept, image, "one")
    with pytest.raises(Conflict, match="one already"):
        make(kept, image, "one")
    with kept.making(KEY, "two") as first:
        make(kept, image, "two")  # somebody is quicker
        with pytest.raises(Conflict, match="two already"):
            kept.keep(first, KEY, Checkpoint("two", image, PLACED, "main-1", 1.0))
    assert list(kept.layout.temporaries.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "x" * 129, ".hidden", "ä"])
def test_a_name_stays_in_its_folder(kept: Checkpoints, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a checkpoint"), kept.making(KEY, name):
        pass
    with pytest.raises(InvalidInput):
        kept.get(KEY, name)


def test_there_are_not_endlessly_many(
    kept: Checkpoints, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CHECKPOINTS", 2)
    make(kept, image, "one")
    make(kept, image, "two")
    with pytest.raises(LimitExceeded, match="at most 2"):
        make(kept, image, "three")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 1}', "[" * 100_000])
def test_a_damaged_one_is_told_and_can_be_removed(kept: Checkpoints, image: Image, content: str) -> None:
    make(kept, image, "one")
    (kept.path(KEY, "one") / ABOUT).write_text(content)
    with pytest.raises(Corrupt):
        kept.get(KEY, "one")
    assert kept.all(KEY) == []
    kept.remove(KEY, "one")


def test_a_death_leaves_nothing_that_counts(kept: Checkpoints, image: Image) -> None:
    pid = os.fork()
    if pid == 0:
        with kept.making(KEY, "one") as folder:
            (folder / MACHINE).write_bytes(b"half")
            os._exit(0)
    os.waitpid(pid, 0)
    assert kept.all(KEY) == []
    assert len(list(kept.layout.temporaries.iterdir())) == 1
    assert kept.layout.remove_stale_temporaries() == 1
    make(kept, image, "one")


def test_those_of_sandboxes_that_are_gone_go(kept: Checkpoints, image: Image) -> None:
    make(kept, image, "one")
    make(kept, image, "one", key="ba9876543210")
    kept.sweep(frozenset({KEY}))
    assert len(kept.all(KEY)) == 1
    assert kept.all("ba9876543210") == []
    kept.remove_all(KEY)
    kept.remove_all(KEY)
    assert kept.all(KEY) == []


def test_others_cannot_read_it(kept: Checkpoints, image: Image) -> None:
    before = os.umask(0)
    try:
        make(kept, image, "one")
    finally:
        os.umask(before)
    path = kept.path(KEY, "one")
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert (path / ABOUT).stat().st_mode & 0o777 == 0o600
    assert json.loads((path / ABOUT).read_text())["label"] == "main-1"
