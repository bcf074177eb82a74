r"""Real images for tests, demonstrations and benchmarks, made from plain data: in memory, or streamed to a folder.

Example::

    image = build_image(
        [[directory("etc"), file("etc/motd", b"hello\n")], [whiteout("etc/motd")]],
        run=RunConfig(cmd=("/bin/sh",)),
        compression="zstd",
    )
    both = build_index([image, build_image([[]], platform=Platform("linux", "arm64"))])
    both.write_layout(folder, tag="1.0")                  # an OCI image layout, for skopeo and others
    registry.push(both, "team/app", "1.0")                # monocore_core.testing.registry

The same arguments give the same digests, on one version of zlib and zstd.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from monocore_core.model.digest import Digest
from monocore_core.model.oci import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_TAR,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Platform,
)
from monocore_core.testing.filespec import FileSpec
from monocore_core.testing.packing import Blob, Compression, PackedLayer, pack

AMD64 = Platform("linux", "amd64")

_OCI_LAYERS: Mapping[Compression, str] = {
    "none": OCI_LAYER_TAR,
    "gzip": OCI_LAYER_GZIP,
    "zstd": OCI_LAYER_ZSTD,
}
_DOCKER_LAYERS: Mapping[Compression, str] = {
    "none": DOCKER_LAYER_TAR,
    "gzip": DOCKER_LAYER_GZIP,
    "zstd": DOCKER_LAYER_ZSTD,
}


@frozen
class RunConfig:
    """How the image wants to be run (image-spec config.md, "config"). None says nothing, which differs from empty."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(factory=dict[str, str])
    stop_signal: str = ""


@frozen
class BuiltImage:
    """An image, or an index of images, complete.

    Attributes:
        media_type: of the manifest.
        manifest: bytes of the manifest or index.
        blobs: configuration and layers by digest; of an index, none.
        layers: descriptors of the compressed layers, lowest first.
        diff_ids: digests of the uncompressed layers, lowest first.
        platform: of the image; of an index, None.
        children: of an index, its images in order.
    """

    media_type: str
    manifest: bytes = field(repr=False)
    blobs: Mapping[Digest, Blob] = field(factory=dict[Digest, Blob], repr=False)
    layers: tuple[Descriptor, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    platform: Platform | None = None
    children: tuple[BuiltImage, ...] = ()

    @property
    def digest(self) -> Digest:
        """Of the manifest."""
        return Digest.of(self.manifest)

    @property
    def descriptor(self) -> Descriptor:
        """What an index says of it."""
        return Descriptor(self.media_type, self.digest, len(self.manifest), self.platform)

    def walk(self) -> Iterator[BuiltImage]:
        """Children first, so that what is named exists already; itself last."""
        for child in self.children:
            yield from child.walk()
        yield self

    def blob(self, digest: Digest) -> bytes:
        """Bytes of a blob.

        Raises:
            KeyError: it has none of that digest.
        """
        return self.blobs[digest].read()

    def write_layout(self, folder: Path, tag: str = "latest") -> None:
        """Write an OCI image layout (image-spec image-layout.md) that has the image under ``tag``."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for image in self.walk():
            (blobs / image.digest.hex).write_bytes(image.manifest)
            for digest, blob in image.blobs.items():
                with blob.open() as source, (blobs / digest.hex).open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
        (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
        named = {
            **descriptor_json(self.descriptor),
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }
        (folder / "index.json").write_bytes(to_json({"schemaVersion": 2, "manifests": [named]}))


def build_image(
    layers: Iterable[Iterable[FileSpec] | bytes | PackedLayer],
    *,
    run: RunConfig | None = None,
    platform: Platform = AMD64,
    compression: Compression = "gzip",
    docker: bool = False,
    folder: Path | None = None,
) -> BuiltImage:
    """Build an image for one platform.

    Args:
        layers: lowest first; each as files, as the bytes of an uncompressed tar, or packed already.
        run: how it wants to be run.
        platform: that the configuration claims.
        compression: of the layers that are not packed yet.
        docker: Docker's schema 2 instead of OCI's media types.
        folder: where compressed layers are written, streaming; None keeps them in memory.
    """
    packed = [
        layer if isinstance(layer, PackedLayer) else pack(layer, compression, folder) for layer in layers
    ]
    types = _DOCKER_LAYERS if docker else _OCI_LAYERS
    descriptors = tuple(
        Descriptor(types[layer.compression], layer.digest, layer.blob.size) for layer in packed
    )
    config = to_json(_config(run or RunConfig(), platform, [layer.diff_id for layer in packed]))
    config_descriptor = Descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, Digest.of(config), len(config))
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor_json(config_descriptor),
        "layers": [descriptor_json(each) for each in descriptors],
    }
    blobs = {layer.digest: layer.blob for layer in packed}
    blobs[config_descriptor.digest] = Blob(data=config)
    return BuiltImage(
        media_type,
        to_json(manifest),
        blobs,
        descriptors,
        tuple(layer.diff_id for layer in packed),
        platform,
    )


def build_index(images: Sequence[BuiltImage], *, docker: bool = False) -> BuiltImage:
    """An index over images (or over further indexes, which name no platform)."""
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [descriptor_json(image.descriptor) for image in images],
    }
    return BuiltImage(media_type, to_json(document), children=tuple(images))


def descriptor_json(descriptor: Descriptor) -> dict[str, object]:
    """A descriptor as it stands in a document."""
    found: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.platform is not None:
        found["platform"] = _platform_json(descriptor.platform)
    return found


def to_json(document: Mapping[str, object]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _platform_json(platform: Platform) -> dict[str, object]:
    found: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        found["variant"] = platform.variant
    return found


def _config(run: RunConfig, platform: Platform, diff_ids: Sequence[Digest]) -> dict[str, object]:
    wanted: dict[str, object] = {
        "Entrypoint": run.entrypoint,
        "Cmd": run.cmd,
        "Env": run.env or None,
        "User": run.user or None,
        "WorkingDir": run.working_dir or None,
        "Labels": dict(run.labels) or None,
        "StopSignal": run.stop_signal or None,
    }
    return {
        **_platform_json(platform),
        "config": {name: value for name, value in wanted.items() if value is not None},
        "rootfs": {"type": "layers", "diff_ids": [str(each) for each in diff_ids]},
    }
