"""Folders of the host, files, named volumes and empty folders in real guests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("virtiofsd") is None and not Path("/usr/lib/qemu/virtiofsd").exists(),
        reason="needs virtiofsd (Debian package qemu-system-common)",
    ),
]

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "a").write_text("of the host\n")
    return path


def lines(ended: subprocess.CompletedProcess[bytes]) -> list[str]:
    return ended.stdout.decode().splitlines()


def test_folders_and_files_of_the_host(monocore: Run, image: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("setting\n")
    (tmp_path / "link").symlink_to("folder")
    script = (
        "cat /data/a /etc/app/conf; echo of the guest >/data/b; mkdir /data/d; echo x >/fixed/x; echo x >/etc/app/conf;"
        "ls /new; stat -c %u /data/a; mknod /data/null c 1 3; ls /scratch; echo y >/scratch/y && cat /scratch/y"
    )
    ended = monocore(
        "run",
        "-v", f"{folder}:/data",
        "--volume", f"{tmp_path}/link:/fixed:ro",
        "-v", f"{tmp_path}/conf:/etc/app/conf:ro",
        "-v", f"{tmp_path}/new:/new",
        "-v", "/scratch",
        image, "sh", "-c", script,
    )  # fmt: skip
    assert lines(ended) == ["of the host", "setting", "0", "y"], ended.stderr.decode()
    errors = ended.stderr.decode()
    assert errors.count("Read-only file system") == 2
    assert "null: Operation not permitted" in errors
    assert (folder / "b").read_text() == "of the guest\n"
    assert (folder / "d").is_dir()
    assert (folder / "b").stat().st_uid == os.geteuid()
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "d"]
    assert (tmp_path / "new").is_dir()


def test_read_only_is_kept_by_the_host(monocore: Run, image: str, folder: Path) -> None:
    """A guest's root mounts it again for writing, which it may, and still cannot write."""
    script = "mount -o remount,rw /data; echo x >/data/x; rm /data/a; chmod 777 /data/a; echo; cat /data/a"
    ended = monocore(
        "run", "--mount", f"type=bind,source={folder},target=/data,readonly", image, "sh", "-c", script
    )
    assert lines(ended) == ["", "of the host"], ended.stderr.decode()
    assert ended.stderr.decode().count("Read-only file system") == 3
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_named_volume_outlives_its_sandboxes(monocore: Run, start: Start, image: str) -> None:
    assert monocore("volume", "create", "kept").stdout == b"kept\n"
    written = monocore("run", "-v", "kept:/data", image, "sh", "-c", "echo one >/data/f; chown 12:34 /data/f")
    assert written.returncode == 0 or os.geteuid(), written.stderr.decode()
    words = ("run", "-v", "kept:/data:ro", image, "sh", "-c", "cat /data/f; echo up >&2; sleep 60")
    with start(*words) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == b"up\n"
        in_use = monocore("volume", "rm", "kept")
        assert in_use.returncode == 1
        assert b"is in use by sandbox" in in_use.stderr
        (listed,) = json.loads(monocore("volume", "inspect", "kept").stdout)
        assert len(listed["users"]) == 1
        running.terminate()
        out, _ = running.communicate(timeout=30)
    assert out == b"one\n"
    assert monocore("volume", "rm", "kept").stdout == b"kept\n"
    missing = monocore("volume", "inspect", "kept")
    assert (missing.returncode, json.loads(missing.stdout)) == (1, [])


def test_what_is_not_allowed_is_refused(monocore: Run, cli_home: Path, image: str, folder: Path) -> None:
    (folder / "out").symlink_to("/etc")
    allow = ("--set", f'volumes.allow=["{folder}"]')
    for source in (folder / "out", "/etc", folder.parent):
        ended = monocore("run", *allow, "-v", f"{source}:/data", image, "true")
        assert ended.returncode == 125
        assert b"may not be shared" in ended.stderr
    ended = monocore("run", "-v", f"{cli_home}/layers:/data", image, "true")
    assert (ended.returncode, b"monocore's own folder" in ended.stderr) == (125, True)
    ended = monocore("run", *allow, "-v", f"{folder}:/data", image, "cat", "/data/a")
    assert ended.stdout == b"of the host\n"


def test_our_own_folder_is_hidden_in_a_bigger_one(monocore: Run, cli_home: Path, image: str) -> None:
    ended = monocore("run", "-v", f"{cli_home.parent}:/all", image, "sh", "-c", "ls /all; ls -a /all/home/")
    assert "state.db" not in ended.stdout.decode()
    assert "home" in lines(ended), ended.stderr.decode()


def test_volumes_lie_inside_one_another(monocore: Run, image: str, folder: Path) -> None:
    script = "echo y >/data/inner/f; cat /data/a /data/inner/f"
    words = ("--tmpfs", "/data/inner", "-v", f"{folder}:/data")
    ended = monocore("run", *words, image, "sh", "-c", script)
    assert lines(ended) == ["of the host", "y"], ended.stderr.decode()
    assert [path.name for path in (folder / "inner").iterdir()] == []


def test_many_bytes_and_files_are_exact(monocore: Run, image: str, folder: Path) -> None:
    script = "head -c 20000000 /dev/urandom >/data/big; for i in $(seq 300); do echo $i >/data/n$i; done; sha256sum </data/big"
    ended = monocore("run", "-v", f"{folder}:/data", image, "sh", "-c", script)
    sums = subprocess.run(["sha256sum", str(folder / "big")], capture_output=True, check=True).stdout
    assert ended.stdout.split()[0] == sums.split()[0]
    assert sorted((folder / f"n{i}").read_text() for i in range(1, 301)) == sorted(
        f"{i}\n" for i in range(1, 301)
    )


def test_a_read_only_root_takes_volumes(monocore: Run, image: str, folder: Path) -> None:
    script = "cat /deep/er/a; echo z >/deep/er/z; echo x >/x"
    ended = monocore("run", "--read-only", "-v", f"{folder}:/deep/er", image, "sh", "-c", script)
    assert ended.stdout == b"of the host\n"
    assert (folder / "z").read_text() == "z\n"
    assert b"Read-only file system" in ended.stderr


def test_a_volume_is_free_when_its_sandbox_has_ended(monocore: Run, image: str) -> None:
    for _ in range(4):
        assert lines(monocore("volume", "create", "brief")) == ["brief"]
        monocore("run", "--rm", "-v", "brief:/data", image, "true")
        removed = monocore("volume", "rm", "brief")
        assert lines(removed) == ["brief"], removed.stderr.decode()
