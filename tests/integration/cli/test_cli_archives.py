"""``images load``, ``images save`` and ``run oci-archive:FILE``, with skopeo and podman as those who made or read the archive."""

import gzip
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from monocore_core.model.oci import Platform
from monocore_core.testing.archives import layout_members, saved_members, tar_of
from monocore_core.testing.filespec import file
from monocore_core.testing.images import BuiltImage, build_image
from monocore_core.testing.samples import busybox_image

pytestmark = pytest.mark.integration
skopeo_needed = pytest.mark.needs("skopeo", "skopeo")

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


@pytest.fixture
def here(tmp_path: Path, monocore: Run) -> Run:
    """The command line with a home of this test alone."""

    def run(*words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return monocore("--home", str(tmp_path / "home"), *words, stdin=stdin)

    return run


@pytest.fixture(scope="module")
def built() -> BuiltImage:
    return busybox_image(platform=Platform.host())


def succeed(*words: str | Path) -> str:
    """Run a program that must not fail."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_image_of_an_archive_is_loaded(tmp_path: Path, here: Run, built: BuiltImage) -> None:
    other = build_image([[file("x")]], platform=Platform.host())
    members = {**saved_members(built, "team/app:1", "alpine:3"), **saved_members(other, "localhost:5000/x:y")}
    lists = (saved_members(built, "team/app:1", "alpine:3"), saved_members(other, "localhost:5000/x:y"))
    members["manifest.json"] = json.dumps(
        [each for one in lists for each in json.loads(one["manifest.json"])]
    ).encode()
    path = tmp_path / "both.tar"
    path.write_bytes(tar_of(members))
    said = ["Loaded image: team/app:1", "Loaded image: alpine:3", "Loaded image: localhost:5000/x:y"]
    ended = here("images", "load", "-i", str(path))
    assert (ended.returncode, ended.stdout.decode().splitlines()) == (0, said), ended.stderr
    assert b"Loading oci-archive:" in ended.stderr
    for data in (path.read_bytes(), gzip.compress(path.read_bytes(), 1)):
        ended = here("images", "load", "-q", stdin=data)
        assert (ended.returncode, ended.stdout.decode().splitlines(), ended.stderr) == (0, said, b"")
    images = json.loads(here("images", "--json").stdout)
    names = {name for image in images for name in image["references"]}
    assert names == {"docker.io/team/app:1", "docker.io/library/alpine:3", "localhost:5000/x:y"}


def test_an_image_without_a_name_has_its_id(tmp_path: Path, here: Run, built: BuiltImage) -> None:
    built.write_layout(tmp_path / "layout", "1.0")
    ended = here("images", "load", "-q", "-i", str(tmp_path / "layout"))
    assert ended.stdout.decode() == f"Loaded image ID: {built.digest}\n"
    assert here("images").stdout.decode().splitlines()[1].startswith("<none> ")
    ended = here("images", "load", "-q", "-i", f"oci:{tmp_path}/layout:1.0", "--tag", "mine")
    assert ended.stdout.decode() == "Loaded image: mine:latest\n"
    (image,) = json.loads(here("images", "--json").stdout)
    assert image["references"] == ["docker.io/library/mine:latest"]


def test_an_image_for_another_platform_is_loaded_as_such(tmp_path: Path, here: Run) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(saved_members(build_image([[]], platform=Platform("linux", "s390x")), "big:1")))
    ended = here("images", "load", "-q", "-i", f"docker-archive:{path}:big:1")
    assert (ended.returncode, ended.stdout) == (0, b"Loaded image: big:1\n"), ended.stderr
    (image,) = json.loads(here("images", "--json").stdout)
    assert image["platform"] == "linux/s390x"
    ended = here("images", "load", "-q", "-i", str(path), "--platform", "linux/amd64")
    assert ended.returncode == 125
    assert b"is for linux/s390x, not for linux/amd64" in ended.stderr
    assert here("images", "save", "--platform", "linux/s390x", "big:1").returncode == 0


def test_what_cannot_be_loaded(tmp_path: Path, here: Run) -> None:
    (tmp_path / "root.tar").write_bytes(tar_of({"etc/motd": b""}))
    for words, stdin, expected in (
        (("-i", str(tmp_path / "nowhere")), None, b"there is no "),
        (("-i", str(tmp_path / "root.tar")), None, b"rootfs:"),
        ((), b"", b"/dev/stdin is empty"),
        (("--tag", f"a@sha256:{'0' * 64}"), b"x", b"digest"),
    ):
        ended = here("images", "load", *words, stdin=stdin)
        assert ended.returncode == 125
        assert expected in ended.stderr
    assert json.loads(here("images", "--json").stdout) == []


def test_a_terminal_is_no_place_for_an_archive(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "monocore_core", "--home", str(tmp_path / "home"), "images")
    main, terminal = pty.openpty()
    try:
        for words in (("load",), ("save", "alpine")):
            ended = subprocess.run(
                [*argv, *words],
                stdin=terminal,
                stdout=terminal,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 125
            assert b"terminal" in ended.stderr
    finally:
        os.close(main)
        os.close(terminal)


@skopeo_needed
@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_skopeo_takes_what_is_saved(tmp_path: Path, here: Run, built: BuiltImage, compress: str) -> None:
    (tmp_path / "in.tar").write_bytes(
        tar_of(layout_members(built, {"io.containerd.image.name": "team/app:1"}))
    )
    assert here("images", "load", "-i", str(tmp_path / "in.tar")).returncode == 0
    out = tmp_path / "out.tar"
    assert here("images", "save", "--compress", compress, "-o", str(out), "team/app:1").returncode == 0
    name = "docker.io/team/app:1"
    told = json.loads(succeed("skopeo", "inspect", f"oci-archive:{out}:{name}"))
    assert told["Architecture"] == Platform.host().architecture
    succeed("skopeo", "copy", "-q", f"oci-archive:{out}:{name}", f"oci:{tmp_path}/layout:{name}")
    if compress == "none":
        assert here("images", "save", "team/app:1").stdout == out.read_bytes()
        succeed("skopeo", "copy", "-q", f"docker-archive:{out}:team/app:1", f"oci:{tmp_path}/docker:x")
    before = json.loads(here("images", "inspect", "team/app:1").stdout)
    ended = here("images", "load", "-q", "-i", str(tmp_path / "layout"))
    assert ended.stdout == b"Loaded image: team/app:1\n"
    after = json.loads(here("images", "inspect", "team/app:1").stdout)
    assert [each["layers"] for each in after] == [each["layers"] for each in before]
    assert [each["config"] for each in after] == [each["config"] for each in before]


@skopeo_needed
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_what_skopeo_writes_is_loaded(
    tmp_path: Path, here: Run, built: BuiltImage, served: str, kind: str
) -> None:
    path = tmp_path / "by-skopeo.tar"
    succeed("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{served}", f"{kind}:{path}:q/w:e")
    ended = here("images", "load", "-q", "-i", str(path))
    assert (ended.returncode, ended.stdout) == (0, b"Loaded image: q/w:e\n"), ended.stderr
    (image,) = json.loads(here("images", "inspect", "q/w:e").stdout)
    assert [each["diff_id"] for each in image["layers"]] == [str(each) for each in built.diff_ids]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("podman", "podman")
def test_podman_loads_what_is_saved_and_saves_what_is_loaded(
    tmp_path: Path, here: Run, built: BuiltImage
) -> None:
    short = tempfile.mkdtemp(prefix="monocore-")  # podman allows a runroot of 50 characters
    podman = ("podman", "--root", str(tmp_path / "root"), "--runroot", short, "--storage-driver", "vfs")
    (tmp_path / "in.tar").write_bytes(tar_of(saved_members(built, "team/app:1")))
    assert here("images", "load", "-i", str(tmp_path / "in.tar")).returncode == 0
    out = tmp_path / "out.tar"
    assert here("images", "save", "-o", str(out), "team/app:1").returncode == 0
    try:
        assert "docker.io/team/app:1" in succeed(*podman, "load", "-q", "-i", out)
        for number, kind in enumerate(("docker-archive", "oci-archive")):
            path = tmp_path / f"{number}.tar"
            succeed(*podman, "save", "-q", "--format", kind, "-o", path, "docker.io/team/app:1")
            ended = here("images", "load", "-q", "-i", str(path))
            assert (ended.returncode, ended.stdout) == (0, b"Loaded image: team/app:1\n"), ended.stderr
    finally:
        shutil.rmtree(short)


def test_an_interrupted_save_leaves_nothing(
    tmp_path: Path, here: Run, start: Start, built: BuiltImage
) -> None:
    (tmp_path / "in.tar").write_bytes(tar_of(saved_members(built, "team/app:1")))
    assert here("images", "load", "-i", str(tmp_path / "in.tar")).returncode == 0
    home = ("--home", str(tmp_path / "home"))
    with start(*home, "images", "save", "team/app:1") as process:
        assert process.stdout is not None
        assert process.stdout.read(512)  # it writes more than a pipe holds, and waits
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_file_is_there_when_it_is_complete(
    tmp_path: Path, here: Run, start: Start, built: BuiltImage, number: int
) -> None:
    (tmp_path / "in.tar").write_bytes(tar_of(saved_members(built, "team/app:1")))
    assert here("images", "load", "-i", str(tmp_path / "in.tar")).returncode == 0
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "x.tar"
    target.write_bytes(b"old")
    home = ("--home", str(tmp_path / "home"))
    with start(*home, "images", "save", "-o", str(target), "team/app:1") as process:
        process.send_signal(number)
        process.wait(30)
    assert [each.name for each in folder.iterdir()] == ["x.tar"]
    if process.returncode != 0:
        assert target.read_bytes() == b"old"
    assert here("images", "save", "-o", str(target), "team/app:1", "nonesuch").returncode == 125
    assert here("images", "save", "-o", str(target), "team/app:1").returncode == 0
    assert target.read_bytes() == here("images", "save", "team/app:1").stdout
    assert [each.name for each in folder.iterdir()] == ["x.tar"]


def test_an_archive_runs(tmp_path: Path, here: Run, built: BuiltImage) -> None:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(tar_of(saved_members(built, "team/app:1")), 1))
    ended = here("run", f"docker-archive:{path}", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout) == (0, b"monocore test image\n"), ended.stderr
    changed = busybox_image(platform=Platform.host(), above=([file("etc/motd", b"another\n")],))
    path.write_bytes(gzip.compress(tar_of(saved_members(changed, "team/app:1")), 1))
    ended = here("run", "-q", f"oci-archive:{path}:team/app:1", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout) == (0, b"another\n"), ended.stderr
    ended = here("plan", f"oci-archive:{path}")
    assert b"oci_archive" in ended.stdout
    shutil.rmtree(tmp_path / "home" / "cache")
    ended = here("run", "-q", "--pull", "never", f"docker-archive:{path}", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout) == (0, b"monocore test image\n"), ended.stderr


def test_a_root_file_system_runs_as_it_is_now(tmp_path: Path, here: Run, built: BuiltImage) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for layer in built.layers:
        with tarfile.open(fileobj=io.BytesIO(built.blob(layer.digest))) as archive:
            archive.extractall(root, filter="tar")
    ended = here("run", f"rootfs:{root}", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout) == (0, b"monocore test image\n"), ended.stderr
    assert b"Pull complete" in ended.stderr
    ended = here("run", f"rootfs:{root}", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"monocore test image\n", b"")
    (root / "etc" / "motd").write_bytes(b"changed\n")
    ended = here("run", "-q", f"rootfs:{root}", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout) == (0, b"changed\n"), ended.stderr
    packed = subprocess.run(
        ["tar", "c", "-C", root, "."], stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout
    ended = here("images", "load", "-q", "--rootfs", "-t", "my/root", stdin=packed)
    assert ended.stdout == b"Loaded image: my/root:latest\n"
    ended = here("run", "my/root", "cat", "/etc/motd")
    assert (ended.returncode, ended.stdout) == (0, b"changed\n"), ended.stderr
