"""The images of the fixtures are what others' tools take them for."""

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.model.digest import Digest
from monocore_core.model.oci import LAYER_COMPRESSION, Index, Manifest, Platform
from monocore_core.ocidoc import parse_config, parse_manifest, select_platform
from monocore_core.testing.filespec import (
    FileSpec,
    directory,
    file,
    hardlink,
    opaque,
    symlink,
    tar_bytes,
    whiteout,
)
from monocore_core.testing.images import RunConfig, build_image, build_index
from monocore_core.testing.packing import Compression
from monocore_core.testing.samples import busybox_image, synthetic_image

FILES = (
    directory("etc"),
    file("etc/motd", b"hello\n", 0o600, uid=7, gid=70_000),
    symlink("bin", "usr/bin"),
    hardlink("etc/again", "etc/motd"),
    whiteout("etc/old"),
    opaque("var"),
)


def test_a_tar_of_files_says_what_was_given() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(FILES))) as archive:
        members = archive.getmembers()
        names = [member.name for member in members]
        assert names == ["etc", "etc/motd", "bin", "etc/again", "etc/.wh.old", "var/.wh..wh..opq"]
        motd = members[1]
        assert (motd.mode, motd.uid, motd.gid, motd.size) == (0o600, 7, 70_000, 6)
        assert members[2].issym()
        assert members[3].islnk()
        content = archive.extractfile(motd)
        assert content is not None
        assert content.read() == b"hello\n"


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_every_document_describes_its_blobs(compression: Compression, docker: bool) -> None:
    run = RunConfig(cmd=("/bin/sh",), env=("A=b",), user="7", working_dir="/srv", labels={"x": "y"})
    image = build_image([FILES, tar_bytes(FILES)], run=run, compression=compression, docker=docker)
    manifest = parse_manifest(image.manifest, image.media_type)
    assert isinstance(manifest, Manifest)
    assert manifest.layers == image.layers
    for descriptor in (manifest.config, *manifest.layers):
        data = image.blob(descriptor.digest)
        assert (Digest.of(data), len(data)) == (descriptor.digest, descriptor.size)
    assert LAYER_COMPRESSION[image.layers[0].media_type] == ("" if compression == "none" else compression)
    config = parse_config(image.blob(manifest.config.digest))
    assert config.diff_ids == image.diff_ids == (Digest.of(tar_bytes(FILES)),) * 2
    assert (config.cmd, config.entrypoint, config.env, config.user) == (("/bin/sh",), None, ("A=b",), "7")
    assert config.labels == {"x": "y"}
    assert build_image([FILES, FILES], run=run, compression=compression, docker=docker).digest == image.digest


def test_a_gzip_layer_is_gzip_of_its_tar() -> None:
    image = build_image([FILES])
    assert gzip.decompress(image.blob(image.layers[0].digest)) == tar_bytes(FILES)


def test_an_index_names_its_images_in_order() -> None:
    arm = Platform("linux", "arm64")
    first, second = build_image([FILES]), build_image([FILES], platform=arm)
    index = build_index([first, second])
    parsed = parse_manifest(index.manifest, index.media_type)
    assert isinstance(parsed, Index)
    assert select_platform(parsed, arm).digest == second.digest
    assert [image.digest for image in index.walk()] == [first.digest, second.digest, index.digest]


@pytest.mark.needs("skopeo", "skopeo")
def test_skopeo_reads_a_layout_with_an_index(tmp_path: Path) -> None:
    index = build_index([build_image([FILES]), build_image([FILES], platform=Platform("linux", "arm64"))])
    index.write_layout(tmp_path / "layout", tag="1.0")
    argv = ["skopeo", "inspect", "--raw", f"oci:{tmp_path / 'layout'}:1.0"]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=30)
    assert done.stdout == index.manifest


@pytest.mark.needs("busybox", "busybox-static")
def test_the_busybox_image_holds_a_program_and_its_links() -> None:
    image = busybox_image(extra=(file("opt/tool", b"#!/bin/sh\n", 0o755),))
    tars = [gzip.decompress(image.blob(layer.digest)) for layer in image.layers]
    with tarfile.open(fileobj=io.BytesIO(tars[0])) as archive:
        assert archive.getmember("bin/sh").linkname == "/bin/busybox"
        assert archive.getmember("bin/busybox").mode == 0o755
        assert archive.getmember("tmp").mode == 0o1777
        assert {"bin/uname", "usr/bin/env", "etc/passwd"} <= set(archive.getnames())
    with tarfile.open(fileobj=io.BytesIO(tars[1])) as archive:
        assert archive.getnames() == ["etc/motd", "opt/tool"]


def test_a_synthetic_image_is_streamed_to_files_and_repeatable(tmp_path: Path) -> None:
    image = synthetic_image(tmp_path / "one", size=4_000_000, files=100, layers=2, seed=5)
    again = synthetic_image(tmp_path / "two", size=4_000_000, files=100, layers=2, seed=5)
    other = synthetic_image(tmp_path / "three", size=4_000_000, files=100, layers=2, seed=6)
    assert image.digest == again.digest != other.digest
    total = files = 0
    for layer in image.layers:
        assert image.blobs[layer.digest].path is not None
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(image.blob(layer.digest)))) as archive:
            sizes = [member.size for member in archive if member.isfile()]
            total, files = total + sum(sizes), files + len(sizes)
    assert files == 100
    assert 3_990_000 < total <= 4_000_000
    assert 0.3 < sum(layer.size for layer in image.layers) / total < 0.5
    assert sorted(path.suffix for path in (tmp_path / "one").iterdir()) == [".blob", ".blob"]


def test_what_fails_while_streaming_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[FileSpec]:
        yield file("a", b"1")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        build_image([broken()], folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_config_says_nothing_where_nothing_was_said() -> None:
    image = build_image([[]])
    manifest = json.loads(image.manifest)
    config = json.loads(image.blob(Digest.parse(manifest["config"]["digest"])))
    assert config["config"] == {}
