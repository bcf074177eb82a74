"""Manifests and indexes, of OCI and of Docker's schema 2."""

from __future__ import annotations

from collections.abc import Mapping

from monocore_core.errors import Corrupt, InvalidInput, Unsupported
from monocore_core.model.digest import Digest
from monocore_core.model.oci import (
    CONFIG_TYPES,
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
from monocore_core.ocidoc.reading import (
    Table,
    extra_of,
    list_at,
    mapping_at,
    read_object,
    table_at,
    text_at,
    texts_at,
)

#: Layers of an image: what the kernel's and Docker's own graph drivers allow.
MAX_LAYERS = 127
#: Manifests of an index.
MAX_MANIFESTS = 1024
#: Bytes of a blob that a descriptor may announce.
MAX_BLOB = 1 << 48

_V1_TYPES = frozenset({DOCKER_MANIFEST_V1, "application/vnd.docker.distribution.manifest.v1+json"})
_DESCRIPTOR_KEYS = frozenset({"mediaType", "digest", "size", "platform", "annotations", "urls"})
_INDEX_KEYS = frozenset({"schemaVersion", "mediaType", "manifests", "annotations"})
_MANIFEST_KEYS = frozenset({"schemaVersion", "mediaType", "config", "layers", "annotations"})


def parse_manifest(data: bytes, media_type: str | None) -> Index | Manifest:
    """Read a manifest or an index.

    Args:
        data: the document as served.
        media_type: what the server called it (parameters are ignored), or None. The document's own word wins; where neither says, its shape does.

    Raises:
        Corrupt: malformed, or it contradicts itself.
        Unsupported: schema 1, an artifact that is no image, a layer of a kind that we do not take; named.
        LimitExceeded: more of anything than is allowed.
    """
    table = read_object(data, "manifest")
    kind = _kind(table, media_type)
    if kind in INDEX_TYPES:
        return _index(table, kind)
    return _manifest(table, kind)


def _kind(table: Table, media_type: str | None) -> str:
    own = text_at(table, "mediaType", "manifest")
    said = (media_type or "").partition(";")[0].strip().lower()
    version = table.get("schemaVersion")
    if version == 1 or own in _V1_TYPES or (not own and said in _V1_TYPES):
        raise Unsupported(
            "the image has a manifest of Docker's schema 1, which is not supported",
            hint="push the image again with a current tool: schema 1 has been obsolete since 2017",
        )
    if version != 2:
        raise Corrupt(f"manifest has schemaVersion {version!r:.40}, not 2")
    has_index, has_layers = "manifests" in table, "config" in table or "layers" in table
    if has_index and has_layers:
        raise Corrupt("manifest is both an index and an image manifest")
    known = INDEX_TYPES | MANIFEST_TYPES
    kind = own or (said if said in known else "")
    if not kind:
        kind = OCI_INDEX if has_index else OCI_MANIFEST
    if kind not in known:
        raise Unsupported(
            f"manifest type {kind[:120]!r} is not supported", hint="it is not a container image"
        )
    if (kind in INDEX_TYPES) != has_index:
        raise Corrupt(f"manifest says that it is {kind}, but is not shaped like one")
    return kind


def _index(table: Table, kind: str) -> Index:
    items = list_at(table, "manifests", "index", limit=MAX_MANIFESTS)
    return Index(
        media_type=kind,
        manifests=tuple(_descriptor(item, f"index.manifests[{i}]") for i, item in enumerate(items)),
        annotations=mapping_at(table, "annotations", "index"),
        extra=extra_of(table, _INDEX_KEYS),
    )


def _manifest(table: Table, kind: str) -> Manifest:
    config = _descriptor(table.get("config"), "manifest.config")
    if config.media_type not in CONFIG_TYPES:
        raise Unsupported(
            f"this is not a container image: its configuration is of type {config.media_type[:120]!r}",
            hint="registries also hold other artifacts (charts, signatures, modules); those cannot run",
        )
    layers: list[Descriptor] = []
    for i, item in enumerate(list_at(table, "layers", "manifest", limit=MAX_LAYERS)):
        layer = _descriptor(item, f"manifest.layers[{i}]")
        _check_layer(layer)
        layers.append(layer)
    return Manifest(
        media_type=kind,
        config=config,
        layers=tuple(layers),
        annotations=mapping_at(table, "annotations", "manifest"),
        extra=extra_of(table, _MANIFEST_KEYS),
    )


def _check_layer(layer: Descriptor) -> None:
    if layer.media_type in LAYER_COMPRESSION:
        return
    shown = layer.media_type[:120]
    if "foreign" in shown or "nondistributable" in shown:
        raise Unsupported(
            f"layer {layer.digest.short} is of type {shown!r}, which its registry may not distribute",
            hint="such layers belong to Windows images; they cannot run in a Linux guest",
        )
    if "encrypted" in shown:
        raise Unsupported(f"layer {layer.digest.short} is encrypted ({shown}), which is not supported")
    known = ", ".join(sorted({name or "plain" for name in LAYER_COMPRESSION.values()}))
    raise Unsupported(
        f"layer {layer.digest.short} is of the unknown type {shown!r}",
        hint=f"layers are tars, compressed as: {known}",
    )


def _descriptor(value: object, where: str) -> Descriptor:
    table = table_at(value, where)
    size = table.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BLOB:
        raise Corrupt(f"{where}.size is {size!r:.40}, not a number of bytes")
    media_type = text_at(table, "mediaType", where)
    if not media_type:
        raise Corrupt(f"{where}.mediaType is missing")
    try:
        digest = Digest.parse(text_at(table, "digest", where))
    except InvalidInput as error:
        raise Corrupt(f"{where}.digest: {error.brief}") from error
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        platform=_platform(table.get("platform"), f"{where}.platform"),
        annotations=mapping_at(table, "annotations", where),
        urls=texts_at(table, "urls", where),
        extra=_extra(table),
    )


def _extra(table: Table) -> Mapping[str, object]:
    return extra_of(table, _DESCRIPTOR_KEYS)


def _platform(value: object, where: str) -> Platform | None:
    if value is None:
        return None
    table = table_at(value, where)
    return Platform(
        text_at(table, "os", where), text_at(table, "architecture", where), text_at(table, "variant", where)
    )
