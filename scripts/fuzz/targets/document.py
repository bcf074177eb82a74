"""Manifests, indexes and image configurations, and the choice of a platform."""

from __future__ import annotations

import json
from collections.abc import Iterator

from monocore_core.model.digest import Digest
from monocore_core.model.oci import Index, Platform
from monocore_core.ocidoc import parse_config, parse_manifest, select_platform
from monocore_core.testing.filespec import file
from monocore_core.testing.images import BuiltImage, build_image, build_index
from scripts.fuzz.target import Taken, Target, refusals

_TYPES = (
    None,
    "",
    "application/json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json; charset=utf-8",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "text/html",
)
_PLATFORMS = (
    Platform("linux", "amd64"),
    Platform("linux", "arm64", "v8"),
    Platform("linux", "arm", "v7"),
    Platform("windows", "amd64"),
)


def run(data: bytes) -> None:
    """A byte for the media type, one for the platform, and the document."""
    taken = Taken(data)
    media_type, platform = taken.pick((*_TYPES, "config")), taken.pick(_PLATFORMS)
    body = taken.rest()
    with refusals():
        if media_type == "config":
            parse_config(body)
            return
        found = parse_manifest(body, media_type)
        if isinstance(found, Index):
            chosen = select_platform(found, platform)
            assert chosen in found.manifests


def seeds() -> Iterator[bytes]:
    """What our builder makes, and what it must not look like."""
    image = build_image([[file("a", b"1")], [file("b", b"2")]])
    index = build_index([image, build_image([[file("c", b"3")]], platform=Platform("linux", "arm64", "v8"))])
    (config,) = (blob for digest, blob in _small(image) if digest not in {one.digest for one in image.layers})
    kinds = {kind: number for number, kind in enumerate((*_TYPES, "config"))}
    for kind in (None, _TYPES[3], "application/json", "text/html"):
        yield bytes([kinds[kind], 0]) + image.manifest
    for platform in range(len(_PLATFORMS)):
        yield bytes([kinds[_TYPES[4]], platform]) + index.manifest
    yield bytes([kinds["config"], 0]) + config
    yield from (
        bytes([kinds["config"], 0]) + json.dumps(table).encode() for table in _configs(json.loads(config))
    )
    yield from (
        bytes([0, 0]) + json.dumps(table).encode() for table in _manifests(json.loads(image.manifest))
    )
    yield from (bytes([0, 1]) + json.dumps(table).encode() for table in _indexes(json.loads(index.manifest)))
    for text in (
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"\xff",
        b"[" * 2000,
    ):
        yield bytes([0, 0]) + text
    yield bytes([0, 0]) + b'{"a":"\\ud800"}'
    yield bytes([0, 0]) + b'{"a":' * 70 + b"1" + b"}" * 70


def _small(image: BuiltImage) -> Iterator[tuple[Digest, bytes]]:
    return ((digest, image.blob(digest)) for digest in image.blobs)


Table = dict[str, object]
_VALUES: tuple[object, ...] = (1, 2, True, "x", [], {}, [1], None)


def _configs(table: Table) -> Iterator[Table]:
    full: Table = {
        "Cmd": "sh",
        "Entrypoint": ["/bin/x"],
        "Env": ["A=1"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"a": "b"},
        "StopSignal": "SIGINT",
        "User": "1:2",
        "Volumes": {"/v": {}},
        "WorkingDir": "/w",
        "Other": 1,
    }
    yield {**table, "config": full, "created": "2024-01-02T03:04:05Z", "extra": [1]}
    for key, value in (
        ("Cmd", [None]),
        ("Cmd", 3),
        ("Env", {}),
        ("Labels", {"a": 1}),
        ("User", "a\0"),
        ("Volumes", []),
    ):
        yield {**table, "config": {key: value}}
    for key in ("created", "architecture", "os", "variant", "rootfs"):
        yield {**table, key: "x"}
        yield {name: value for name, value in table.items() if name != key}
    yield {**table, "created": "2024-01-02"}
    yield {**table, "rootfs": {"type": "zip"}}
    yield {**table, "rootfs": {"type": "layers", "diff_ids": ["sha256:1"]}}
    yield {**table, "rootfs": {"type": "layers", "diff_ids": [1] * 200}}


def _manifests(table: Table) -> Iterator[Table]:
    for key in ("schemaVersion", "mediaType", "config", "layers", "annotations"):
        yield {name: value for name, value in table.items() if name != key}
        for value in _VALUES:
            yield {**table, key: value}
    descriptor = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": "sha256:" + "0" * 64,
        "size": 3,
    }
    wrongs: dict[str, tuple[object, ...]] = {
        "size": (-1, 1.5, 1 << 64, None),
        "digest": ("md5:x", 1),
        "mediaType": ("x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 7),
        "platform": ({"os": "linux", "architecture": "arm", "variant": "v7", "features": []}, 1),
        "annotations": ({"a": "b"}, {"a": 1}),
        "urls": (["http://x"],),
    }
    for key, values in wrongs.items():
        for wrong in values:
            yield {**table, "layers": [{**descriptor, key: wrong}]}
            yield {**table, "config": {**descriptor, key: wrong}}
    yield {**table, "layers": [descriptor] * 200}


def _indexes(table: Table) -> Iterator[Table]:
    for value in _VALUES:
        yield {**table, "manifests": value}
    bare = {"mediaType": _TYPES[3], "digest": "sha256:" + "0" * 64, "size": 3}
    yield {**table, "manifests": [bare]}
    yield {**table, "manifests": [{**bare, "platform": {"os": "unknown", "architecture": "unknown"}}]}
    yield {
        **table,
        "manifests": [{**bare, "platform": {"os": "linux", "architecture": "amd64", "variant": "v3"}}],
    }
    yield {**table, "mediaType": _TYPES[3], "layers": [], "config": bare}


TARGET = Target(
    "document",
    "manifests, indexes, image configurations",
    run,
    seeds,
    (
        "monocore_core.ocidoc.config",
        "monocore_core.ocidoc.document",
        "monocore_core.ocidoc.manifest",
        "monocore_core.ocidoc.select",
    ),
    longest=6000,
)
