"""OCI image values (image-spec v1.1) and their Docker v2 ancestors. Parsing is in :mod:`monocore_core.ocidoc`."""

from __future__ import annotations

import platform as _platform
from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from monocore_core.errors import InvalidInput
from monocore_core.model.digest import Digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})

#: Layer media type to its compression: "" (none), "gzip" or "zstd". Anything else is refused by name.
LAYER_COMPRESSION: Mapping[str, str] = {
    OCI_LAYER_TAR: "",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER_TAR: "",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
}

_MACHINE_TO_GOARCH = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "ppc64le": "ppc64le",
}
#: Those of Linux that have images, in Go's words and in uname's.
_ARCHITECTURES = frozenset({*_MACHINE_TO_GOARCH, "386", "arm", "loong64", "mips64le"})


@frozen
class Platform:
    """An operating system and architecture in Go's words, e.g. ``linux/amd64`` or ``linux/arm/v7``."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """``os/arch[/variant]``, or a known architecture of Linux alone; uname spellings of it (``x86_64``) are understood.

        Raises:
            InvalidInput: when the text has another shape.
        """
        parts = text.lower().split("/")
        if parts[0] in _ARCHITECTURES and len(parts) == 1:
            parts.insert(0, "linux")
        if not 2 <= len(parts) <= 3 or not all(part.isalnum() or "_" in part for part in parts):
            raise InvalidInput(
                f"platform {text[:80]!r} is not OS/ARCH[/VARIANT], nor a known architecture",
                hint="for example linux/amd64",
            )
        system, machine = parts[0], _MACHINE_TO_GOARCH.get(parts[1], parts[1])
        variant = parts[2] if len(parts) == 3 else ""
        if machine == "arm64" and variant == "v8":
            variant = ""
        return cls(system, machine, variant)

    @classmethod
    def host(cls) -> Platform:
        """What a guest on this machine runs natively: always Linux, on the host's architecture."""
        machine = _platform.machine().lower()
        return cls("linux", _MACHINE_TO_GOARCH.get(machine, machine))


@frozen
class Descriptor:
    """What one document says of another: type, digest and exact size in bytes.

    ``extra`` keeps keys that this version of the model does not know, verbatim.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(factory=dict[str, str])
    urls: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(factory=dict[str, object])


@frozen
class Index:
    """A list of manifests, usually one a platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(factory=dict[str, str])
    extra: Mapping[str, object] = field(factory=dict[str, object])


@frozen
class Manifest:
    """One image for one platform: its configuration and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(factory=dict[str, str])
    extra: Mapping[str, object] = field(factory=dict[str, object])


@frozen
class ImageConfig:
    """What an image says about running it, and the diff IDs of its layers (lowest first).

    ``entrypoint`` and ``cmd`` are None when the image says nothing, which differs from an empty list.
    """

    platform: Platform
    diff_ids: tuple[Digest, ...]
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(factory=dict[str, str])
    stop_signal: str = ""
    created: datetime | None = None
    extra: Mapping[str, object] = field(factory=dict[str, object])
