"""Images out of the store: what is written is what is there, the same each time, and comes back as the same image."""

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from monocore_core.errors import Corrupt, NotFound
from monocore_core.model.digest import Digest
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference, parse_reference
from monocore_core.store import Store
from monocore_core.store.compress import Compression
from monocore_core.store.export import Chosen, export_images
from monocore_core.testing.memory import MemorySource, memory_image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

AMD64 = Platform("linux", "amd64")
NAME, OTHER = parse_reference("team/app:1"), parse_reference("alpine")
LAYERS = (b"x" * 5000, bytes(3 << 20), b"y" * 700)
UNPACK: Mapping[Compression, Callable[[bytes], bytes]] = {
    Compression.NONE: bytes,
    Compression.GZIP: gzip.decompress,
    Compression.ZSTD: zstd.decompress,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
async def image(store: Store) -> Image:
    source = MemorySource()
    source.add(NAME, memory_image(LAYERS, label="l"))
    return await store.pull(source, NAME, AMD64)


def exported(store: Store, *chosen: Chosen, compression: Compression = Compression.NONE) -> dict[str, bytes]:
    """The archive's files."""
    sink = io.BytesIO()
    export_images(store, chosen, sink, compression)
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        found: dict[str, bytes] = {}
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read()
    return found


@pytest.mark.parametrize("compression", Compression)
def test_an_archive_is_consistent(store: Store, image: Image, compression: Compression) -> None:
    files = exported(store, Chosen(image, (NAME, OTHER)), compression=compression)
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{Digest.of(data).hex}"
    first, second = json.loads(files["index.json"])["manifests"]
    assert first["annotations"] == {
        "io.containerd.image.name": "docker.io/team/app:1",
        "org.opencontainers.image.ref.name": "docker.io/team/app:1",
    }
    assert second["annotations"]["io.containerd.image.name"] == "docker.io/library/alpine:latest"
    assert first["digest"] == second["digest"]
    manifest = json.loads(files[f"blobs/sha256/{first['digest'].partition(':')[2]}"])
    (saved,) = json.loads(files["manifest.json"])
    assert saved["RepoTags"] == ["team/app:1", "alpine:latest"]
    assert files[saved["Config"]] == store.image_documents(image)[1]
    assert saved["Config"] == f"blobs/sha256/{manifest['config']['digest'].partition(':')[2]}"
    assert [UNPACK[compression](files[name]) for name in saved["Layers"]] == list(LAYERS)
    assert [layer["mediaType"] for layer in manifest["layers"]] == [compression.media_type] * 3
    for layer, name in zip(manifest["layers"], saved["Layers"], strict=True):
        assert (layer["size"], layer["digest"][7:]) == (len(files[name]), name[13:])
    assert list(store.layout.temporaries.iterdir()) == []
    assert store.leases() == []


@pytest.mark.parametrize("compression", Compression)
def test_the_same_images_give_the_same_bytes(store: Store, image: Image, compression: Compression) -> None:
    sinks = io.BytesIO(), io.BytesIO()
    for sink in sinks:
        export_images(store, [Chosen(image, (NAME,)), Chosen(image)], sink, compression)
    assert sinks[0].getvalue() == sinks[1].getvalue()


def test_names_that_an_archive_cannot_give(store: Store, image: Image) -> None:
    pinned = NAME.with_digest(image.digest)
    bare = parse_reference(f"team/app@{image.digest}")
    local = Reference("", "/x.tar", scheme="oci-archive")
    files = exported(store, Chosen(image, (pinned, bare, local)))
    (listed,) = json.loads(files["index.json"])["manifests"]
    assert listed["annotations"]["io.containerd.image.name"] == str(NAME)
    (listed,) = json.loads(exported(store, Chosen(image, (bare, local)))["index.json"])["manifests"]
    assert "annotations" not in listed


def test_a_layer_that_has_shrunk_is_noticed(store: Store, image: Image) -> None:
    path = image.layers[0].path
    path.chmod(0o600)
    path.write_bytes(b"x")
    for compression in Compression:
        with pytest.raises(Corrupt, match="not what it was"):
            export_images(store, [Chosen(image)], io.BytesIO(), compression)
    assert store.leases() == []


def test_an_image_that_is_gone(store: Store, image: Image) -> None:
    store.remove_image(NAME)
    with pytest.raises(NotFound, match="removed"):
        export_images(store, [Chosen(image)], io.BytesIO())
