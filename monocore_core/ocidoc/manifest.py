"""Manifests and indexes (OCI image-spec v1.1, ``manifest.md`` and ``image-index.md``; Docker's schema 2)."""

from __future__ import annotations

from collections.abc import Mapping

from monocore_core.errors import Corrupt, LimitExceeded, Unsupported
from monocore_core.model.oci import (
    CONFIG_TYPES,
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_V1,
    INDEX_TYPES,
    LAYER_COMPRESSION,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from monocore_core.ocidoc import document as read
from monocore_core.ocidoc.document import Object
from monocore_core.ocidoc.limits import MAX_DOCUMENT, MAX_LAYERS, MAX_MANIFESTS, MAX_SIZE

#: What servers say when they do not know what they serve.
_VAGUE = frozenset({"", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream"})
_SCHEMA_1 = frozenset({DOCKER_MANIFEST_V1, "application/vnd.docker.distribution.manifest.v1+json"})
_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)
_DESCRIPTOR = frozenset({"mediaType", "digest", "size", "platform", "annotations", "urls"})
_PLATFORM = frozenset({"os", "architecture", "variant"})
_MANIFEST = frozenset({"schemaVersion", "mediaType", "config", "layers", "annotations"})
_INDEX = frozenset({"schemaVersion", "mediaType", "manifests", "annotations"})


def parse_manifest(data: bytes, media_type: str | None) -> Index | Manifest:
    """A manifest or index.

    Args:
        data: the document.
        media_type: what its server said it is (parameters are ignored), or None.

    Raises:
        Corrupt: malformed, or what it says it is contradicts its server or its own shape.
        LimitExceeded: beyond a bound of :mod:`.limits`.
        Unsupported: a kind of document, configuration or layer that we do not take, named.
    """
    root = read.load(data, "manifest")
    found = _media_type(root, (media_type or "").partition(";")[0].strip().lower())
    if found in INDEX_TYPES:
        return _index(root, found)
    return _manifest(root, found)


def _media_type(root: Object, served: str) -> str:
    stated = read.text(root, "mediaType", "manifest")
    version = root.get("schemaVersion")
    if version == 1 or stated in _SCHEMA_1 or served in _SCHEMA_1:
        raise Unsupported(
            "the image has a manifest of Docker's schema 1, which was retired in 2017",
            hint="push it again with a current tool, for example: skopeo copy --format v2s2",
        )
    if version != 2 or isinstance(version, bool):
        raise Corrupt("manifest.schemaVersion is not 2")
    if stated and served not in _VAGUE and stated != served:
        raise Corrupt(f"the manifest says that it is {stated[:100]!r}, but was served as {served[:100]!r}")
    found = stated or ("" if served in _VAGUE else served) or _by_shape(root)
    if found not in INDEX_TYPES | MANIFEST_TYPES:
        raise Unsupported(f"{found[:100]!r} is not a type of image manifest that we know")
    _check_shape(root, index=found in INDEX_TYPES)
    return found


def _by_shape(root: Object) -> str:
    if "manifests" in root:
        return OCI_INDEX
    config = root.get("config")
    if isinstance(config, dict) and "layers" in root:
        docker = read.text(read.mapping(root, "config", "manifest"), "mediaType", "manifest.config")
        return DOCKER_MANIFEST if docker == DOCKER_CONFIG else OCI_MANIFEST
    raise Corrupt("the manifest has neither manifests nor a config and layers")


def _check_shape(root: Object, *, index: bool) -> None:
    """A document that can be read both as a manifest and as an index is refused (CVE-2021-41190)."""
    other = ("layers", "config") if index else ("manifests",)
    for key in other:
        if root.get(key) is not None:
            kind = "an index" if index else "a manifest"
            raise Corrupt(f"the document is {kind}, but has {key!r} in it")


def _index(root: Object, media_type: str) -> Index:
    listed = read.items(root, "manifests", "index", MAX_MANIFESTS)
    if listed is None:
        raise Corrupt("index.manifests is missing")
    found = read.entries(listed, "index.manifests")
    manifests = tuple(_descriptor(item, f"index.manifests[{number}]") for number, item in enumerate(found))
    return Index(media_type, manifests, read.texts(root, "annotations", "index"), read.unknown(root, _INDEX))


def _manifest(root: Object, media_type: str) -> Manifest:
    config = _descriptor(read.mapping(root, "config", "manifest"), "manifest.config")
    if config.media_type not in CONFIG_TYPES:
        kind = read.text(root, "artifactType", "manifest") or config.media_type
        raise Unsupported(
            f"it is not a container image but an artifact of type {kind[:100]!r}",
            hint="monocore runs container images only",
        )
    if config.size > MAX_DOCUMENT:
        raise LimitExceeded(f"the image's configuration has {config.size} bytes, more than {MAX_DOCUMENT}")
    listed = read.items(root, "layers", "manifest", MAX_LAYERS) or []
    found = read.entries(listed, "manifest.layers")
    layers = tuple(_layer(item, f"manifest.layers[{number}]") for number, item in enumerate(found))
    annotations = read.texts(root, "annotations", "manifest")
    return Manifest(media_type, config, layers, annotations, read.unknown(root, _MANIFEST))


def _layer(item: Object, where: str) -> Descriptor:
    found = _descriptor(item, where)
    if found.media_type.startswith(_FOREIGN):
        raise Unsupported(
            f"{where} is a foreign layer ({found.media_type[:100]}), which registries do not hold",
            hint="such layers belong to Windows images",
        )
    if found.media_type not in LAYER_COMPRESSION:
        raise Unsupported(f"{where} has the media type {found.media_type[:100]!r}, which we cannot unpack")
    return found


def _descriptor(item: Object, where: str) -> Descriptor:
    media_type = read.text(item, "mediaType", where)
    if not media_type:
        raise Corrupt(f"{where}.mediaType is missing")
    extra = read.unknown(item, _DESCRIPTOR)
    platform = None
    if item.get("platform") is not None:
        said = read.mapping(item, "platform", where)
        platform = _platform(said, f"{where}.platform")
        if others := read.unknown(said, _PLATFORM):
            extra["platform"] = others
    annotations: Mapping[str, str] = read.texts(item, "annotations", where)
    return Descriptor(
        media_type=media_type,
        digest=read.digest(item.get("digest"), f"{where}.digest"),
        size=read.number(item, "size", where, MAX_SIZE),
        platform=platform,
        annotations=annotations,
        urls=read.words(item, "urls", where) or (),
        extra=extra,
    )


def _platform(said: Object, where: str) -> Platform:
    return Platform(
        os=read.text(said, "os", where).lower(),
        architecture=read.text(said, "architecture", where).lower(),
        variant=read.text(said, "variant", where).lower(),
    )
