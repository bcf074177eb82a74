"""Named volumes: made once, kept while used, removed whole; and what sandboxes are given of the host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.errors import Conflict, InvalidInput, NotFound, Unauthorized
from monocore_core.model.guest import ShareMount
from monocore_core.model.machine import Share
from monocore_core.model.volume import VolumeMount
from monocore_core.store import Store
from monocore_core.volumes import serve_volumes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


def test_made_once_and_kept(store: Store) -> None:
    first = store.volumes.create("data")
    (first.path / "file").write_text("kept")
    again = store.volumes.create("data")
    assert again == first
    assert (again.path / "file").read_text() == "kept"
    assert first.path.stat().st_mode & 0o777 == 0o700
    assert [volume.name for volume in store.volumes.all()] == ["data"]


def test_removed_with_what_is_in_it(store: Store) -> None:
    path = store.volumes.create("data").path
    (path / "folder").mkdir()
    store.volumes.remove("data")
    assert not path.exists()
    with pytest.raises(NotFound, match="data"):
        store.volumes.remove("data")
    assert not any(store.layout.temporaries.iterdir())


def test_a_used_volume_stays(store: Store) -> None:
    with store.sandbox_directory("one"):
        store.volumes.use("data", "one")
        assert store.volumes.find("data").users == ("one",)
        with pytest.raises(Conflict, match="sandbox one"):
            store.volumes.remove("data")
        assert store.volumes.prune() == []
    assert store.volumes.find("data").users == ()
    assert store.volumes.prune() == ["data"]


_DIES = """
import os, sys
from pathlib import Path
from monocore_core.store import Store
with Store.open(Path(sys.argv[1])) as store:
    store.make_sandbox_directory("dead")
    store.volumes.use("data", "dead")
    os.kill(os.getpid(), 9)
"""


def test_a_dead_users_volume_can_be_removed(store: Store) -> None:
    subprocess.run([sys.executable, "-c", _DIES, str(store.layout.home)], check=False)
    assert store.volumes.find("data").users == ()
    store.volumes.remove("data")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a" * 64, "a\n"])
def test_names_that_are_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match="volume name"):
        store.volumes.create(name)


def serve(
    store: Store, tmp_path: Path, *volumes: VolumeMount, allow: tuple[str, ...] = ("/",)
) -> tuple[tuple[Share, ShareMount], ...]:
    with store.sandbox_directory("key") as directory:
        return serve_volumes(volumes, allow, store, "key", directory)


def test_what_the_machine_and_the_guest_are_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "folder").mkdir()
    served = serve(
        store,
        tmp_path,
        VolumeMount("/a", str(tmp_path / "link"), readonly=True),
        VolumeMount("/b", str(tmp_path / "file")),
        VolumeMount("/c", "named"),
    )
    real = Path(os.path.realpath(tmp_path))
    assert served == (
        (Share("volume0", real / "folder", readonly=True), ShareMount("volume0", "/a", readonly=True)),
        (Share("volume1", real / "file", readonly=False), ShareMount("volume1", "/b", file=True)),
        (
            Share("volume2", Path(os.path.realpath(store.layout.home)) / "volumes/named", readonly=False),
            ShareMount("volume2", "/c"),
        ),
    )


def test_a_missing_folder_is_made_where_docker_makes_it(store: Store, tmp_path: Path) -> None:
    serve(store, tmp_path, VolumeMount("/a", str(tmp_path / "new/deep")))
    assert (tmp_path / "new/deep").is_dir()
    with pytest.raises(NotFound, match="other"):
        serve(store, tmp_path, VolumeMount("/a", str(tmp_path / "other"), create=False))
    assert not (tmp_path / "other").exists()


def test_a_link_does_not_lead_out_of_what_is_allowed(store: Store, tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.mkdir()
    secret.mkdir()
    (allowed / "link").symlink_to(secret)
    serve(store, tmp_path, VolumeMount("/a", str(allowed)), allow=(str(allowed),))
    for source in (allowed / "link", allowed / "link/new", secret, tmp_path, allowed / "../secret"):
        with pytest.raises(Unauthorized, match="may not be shared"):
            serve(store, tmp_path, VolumeMount("/a", str(source)), allow=(str(allowed),))
    assert not (secret / "new").exists()


def test_our_own_folder_is_not_shared_and_hidden_in_what_is(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Unauthorized, match="monocore's own"):
        serve(store, tmp_path, VolumeMount("/a", str(store.layout.layers)))
    ((share, _),) = serve(store, tmp_path, VolumeMount("/a", str(tmp_path)))
    assert share.hidden == (Path(os.path.realpath(store.layout.home)),)


def test_only_folders_and_files(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="neither a folder nor a regular file"):
        serve(store, tmp_path, VolumeMount("/a", str(tmp_path / "pipe")))
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be shared"):
        serve(store, tmp_path, VolumeMount("/a", str(tmp_path / "file/below")))
