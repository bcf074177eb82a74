"""Manifests, indexes and configurations: read, bounded, or refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError, NotFound, Unsupported
from monocore_core.model.digest import Digest
from monocore_core.model.oci import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_V1,
    LAYER_COMPRESSION,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from monocore_core.ocidoc import MAX_LAYERS, parse_config, parse_manifest, select_platform

Json = dict[str, object]
DIGEST = str(Digest.of(b"x"))


def descriptor(media_type: str, **more: object) -> Json:
    return {"mediaType": media_type, "digest": DIGEST, "size": 7, **more}


def manifest(**more: object) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG),
        "layers": [descriptor(OCI_LAYER_GZIP)],
        **more,
    }


def index(*manifests: Json, **more: object) -> Json:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests), **more}


def config(**more: object) -> Json:
    return {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        **more,
    }


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def as_manifest(document: Json, media_type: str | None = None) -> Manifest:
    found = parse_manifest(encode(document), media_type)
    assert isinstance(found, Manifest)
    return found


def as_index(document: Json, media_type: str | None = None) -> Index:
    found = parse_manifest(encode(document), media_type)
    assert isinstance(found, Index)
    return found


def test_a_manifest() -> None:
    layer = descriptor(OCI_LAYER_GZIP, annotations={"a": "b"}, urls=["https://x"], data="aGk=")
    found = as_manifest(manifest(layers=[layer], annotations={"k": "v"}, subject={"any": [1]}))
    assert found.config == Descriptor(OCI_CONFIG, Digest.parse(DIGEST), 7)
    assert found.layers == (
        Descriptor(
            OCI_LAYER_GZIP,
            Digest.parse(DIGEST),
            7,
            annotations={"a": "b"},
            urls=("https://x",),
            extra={"data": "aGk="},
        ),
    )
    assert found.annotations == {"k": "v"}
    assert found.extra == {"subject": {"any": [1]}}


def test_an_index() -> None:
    said = {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"}
    found = as_index(index(descriptor(OCI_MANIFEST, platform=said), artifactType="x"))
    assert found.manifests[0].platform == Platform("linux", "arm", "v7")
    assert found.manifests[0].extra == {"platform": {"os.version": "1"}}
    assert found.extra == {"artifactType": "x"}


@pytest.mark.parametrize("served", [None, "", "application/json", "text/plain; charset=utf-8"])
def test_types_are_known_by_shape(served: str | None) -> None:
    bare = {key: value for key, value in manifest().items() if key != "mediaType"}
    assert as_manifest(bare, served).media_type == OCI_MANIFEST
    docker = {**bare, "config": descriptor(DOCKER_CONFIG)}
    assert as_manifest(docker, served).media_type == DOCKER_MANIFEST
    assert as_index({"schemaVersion": 2, "manifests": []}, served).media_type == OCI_INDEX


def test_types_are_known_by_what_was_served() -> None:
    bare = {key: value for key, value in manifest().items() if key != "mediaType"}
    assert as_manifest(bare, f"{DOCKER_MANIFEST}; charset=utf-8").media_type == DOCKER_MANIFEST
    assert as_index({"schemaVersion": 2, "manifests": []}, DOCKER_INDEX).media_type == DOCKER_INDEX


def test_null_is_as_good_as_missing() -> None:
    """As Go writes nil slices and maps."""
    assert as_manifest(manifest(layers=None, annotations=None)).layers == ()


@pytest.mark.parametrize("media_type", sorted(LAYER_COMPRESSION))
def test_every_type_of_layer(media_type: str) -> None:
    assert as_manifest(manifest(layers=[descriptor(media_type)])).layers[0].media_type == media_type


@pytest.mark.parametrize(
    ("document", "served", "error", "words"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, None, Unsupported, "schema 1"),
        (manifest(), DOCKER_MANIFEST_V1, Unsupported, "schema 1"),
        ({}, None, Corrupt, "schemaVersion"),
        (manifest(schemaVersion="2"), None, Corrupt, "schemaVersion"),
        (manifest(schemaVersion=True), None, Unsupported, "schema 1"),
        ({"schemaVersion": 2}, None, Corrupt, "neither"),
        (manifest(), OCI_INDEX, Corrupt, "was served as"),
        (manifest(manifests=[]), None, Corrupt, "'manifests'"),
        (index(layers=[]), None, Corrupt, "'layers'"),
        (index(config={}), None, Corrupt, "'config'"),
        (manifest(mediaType="application/vnd.x"), None, Unsupported, "'application/vnd.x'"),
        (manifest(mediaType=5), None, Corrupt, "mediaType is not a text"),
        (manifest(config=None), None, Corrupt, "config.mediaType"),
        (manifest(config=[]), None, Corrupt, "config is not an object"),
        (
            manifest(config=descriptor("application/vnd.cncf.helm.config.v1+json")),
            None,
            Unsupported,
            "helm",
        ),
        (
            manifest(config=descriptor("application/vnd.oci.empty.v1+json"), artifactType="text/sbom"),
            None,
            Unsupported,
            "'text/sbom'",
        ),
        (manifest(layers={}), None, Corrupt, "layers is not a list"),
        (manifest(layers=[1]), None, Corrupt, r"layers\[0\] is not an object"),
        (manifest(layers=[descriptor("x/y")]), None, Unsupported, r"layers\[0\].*'x/y'"),
        (
            manifest(layers=[descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")]),
            None,
            Unsupported,
            "foreign layer",
        ),
        (
            manifest(layers=[descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd")]),
            None,
            Unsupported,
            "foreign layer",
        ),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, size=-1)]), None, Corrupt, "size is negative"),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, size=2**63)]), None, Corrupt, "impossibly large"),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, size=1.0)]), None, Corrupt, "not a whole number"),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, size=True)]), None, Corrupt, "not a whole number"),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, size=None)]), None, Corrupt, "size is missing"),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, digest="sha256:x")]), None, Corrupt, "digest is wrong"),
        (manifest(layers=[descriptor(OCI_LAYER_GZIP, digest=5)]), None, Corrupt, "digest is not a text"),
        (
            manifest(layers=[descriptor(OCI_LAYER_GZIP)] * (MAX_LAYERS + 1)),
            None,
            LimitExceeded,
            "128 entries",
        ),
        (manifest(config=descriptor(OCI_CONFIG, size=5_000_000)), None, LimitExceeded, "configuration"),
        (index(*[descriptor(OCI_MANIFEST)] * 4097), None, LimitExceeded, "4097 entries"),
        (index(manifests=None), None, Corrupt, "manifests is missing"),
        (manifest(annotations={"a": 1}), None, Corrupt, "annotations.a is not a text"),
        (manifest(mediaType="x" * 5000), None, LimitExceeded, "5000 characters"),
    ],
)
def test_what_is_refused(document: Json, served: str | None, error: type[MonocoreError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_manifest(encode(document), served)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Corrupt),
        (b"[]", Corrupt),
        (b"null", Corrupt),
        (b'{"a":1', Corrupt),
        (b'{"a":NaN}', Corrupt),
        (b'{"a":-Infinity}', Corrupt),
        (b'{"a":1e999}', Corrupt),
        (b'{"a":' + b"1" * 5000 + b"}", Corrupt),
        (b'{"a":1,"a":2}', Corrupt),
        (b'{"a":{"b":1,"b":1}}', Corrupt),
        (b'{"a":"\\ud800"}', Corrupt),
        (b'{"\\udcff":1}', Corrupt),
        (b'{"a":"\xff"}', Corrupt),
        ('{"a":1}'.encode("utf-16"), Corrupt),
        (b" " * (4 * 1024 * 1024 + 1), LimitExceeded),
        (b"[" * 1_000_000, LimitExceeded),
        (b'{"a":' * 500_000, LimitExceeded),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", LimitExceeded),
        (b'{"a":' * 900 + b"1" + b"}" * 900, LimitExceeded),
    ],
)
def test_json_that_is_refused(data: bytes, error: type[MonocoreError]) -> None:
    for parse in (lambda: parse_manifest(data, None), lambda: parse_config(data)):
        with pytest.raises(error):
            parse()


def test_json_as_deep_as_allowed() -> None:
    deep = b'{"architecture":"a","rootfs":{"type":"layers"},"x":' + b"[" * 63 + b"]" * 63 + b"}"
    assert parse_config(deep).platform == Platform("linux", "a")


def test_a_configuration() -> None:
    run: Json = {
        "Entrypoint": ["/e", "1"],
        "Cmd": [],
        "Env": ["PATH=/bin", "A=é"],
        "WorkingDir": "/w",
        "User": "u:g",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/v": {}},
        "Labels": {"l": "1"},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["NONE"]},
    }
    document = config(config=run, created="2024-02-03T04:05:06.123456789Z", history=[1], variant="v2")
    found = parse_config(encode(document))
    assert found.platform == Platform("linux", "amd64", "v2")
    assert found.diff_ids == (Digest.parse(DIGEST),)
    assert (found.entrypoint, found.cmd) == (("/e", "1"), ())
    assert found.env == ("PATH=/bin", "A=é")
    assert (found.working_dir, found.user, found.stop_signal) == ("/w", "u:g", "SIGINT")
    assert (found.exposed_ports, found.volumes, found.labels) == (("80/tcp",), ("/v",), {"l": "1"})
    assert found.created == datetime(2024, 2, 3, 4, 5, 6, 123456, tzinfo=UTC)
    assert found.extra == {"history": [1], "config": {"Healthcheck": {"Test": ["NONE"]}}}


def test_a_bare_configuration() -> None:
    found = parse_config(encode(config(config=None)))
    assert (found.entrypoint, found.cmd, found.env, found.created) == (None, None, (), None)


def test_a_text_for_words_as_docker_takes_it() -> None:
    assert parse_config(encode(config(config={"Entrypoint": "/bin/x"}))).entrypoint == ("/bin/x",)


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ({}, Unsupported, "architecture"),
        (config(architecture=""), Unsupported, "architecture"),
        (config(architecture=5), Corrupt, "architecture"),
        (config(rootfs=None), Corrupt, "rootfs is missing"),
        (config(rootfs={"type": "x"}), Unsupported, "'x'"),
        (config(rootfs={"diff_ids": ["x"]}), Corrupt, r"diff_ids\[0\]"),
        (config(rootfs={"diff_ids": [DIGEST] * 128}), LimitExceeded, "128"),
        (config(config=[]), Corrupt, "config is not an object"),
        (config(config={"Env": "A=1\0"}), Corrupt, "NUL"),
        (config(config={"Env": [1]}), Corrupt, r"Env\[0\] is not a text"),
        (config(config={"Env": [None]}), Corrupt, r"Env\[0\] is not a text"),
        (config(config={"Env": ["A=1"] * 4097}), LimitExceeded, "4097"),
        (config(config={"Cmd": ["x" * 131073]}), LimitExceeded, "131073"),
        (config(config={"Cmd": ["é" * 65536]}), LimitExceeded, "131072 bytes"),
        (config(config={"WorkingDir": "/" * 4097}), LimitExceeded, "4097"),
        (config(config={"Labels": {"a": None, "b": 2}}), Corrupt, "Labels.b"),
        (config(created="yesterday"), Corrupt, "not a time"),
        (config(created="2024-02-03T04:05:06"), Corrupt, "time zone"),
    ],
)
def test_configurations_that_are_refused(document: Json, error: type[MonocoreError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_config(encode(document))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    ["config", "layers", "manifests", "mediaType", "annotations", "rootfs", "created", "os", "schemaVersion"]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=4), st.sampled_from([manifest(), index(), config()]))
def test_any_members_are_read_or_refused(changed: Json, base: Json) -> None:
    data = encode({**base, **changed})
    for parse in (lambda: parse_manifest(data, None), lambda: parse_config(data)):
        try:
            found: object = parse()
        except MonocoreError as error:
            found = error.brief
        assert found


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=4))
def test_damaged_documents_are_read_or_refused(at: int, junk: bytes) -> None:
    for document in (manifest(), index(descriptor(OCI_MANIFEST)), config()):
        data = encode(document)
        damaged = data[:at] + junk + data[at + len(junk) :]
        for parse in (lambda: parse_manifest(damaged, None), lambda: parse_config(damaged)):  # noqa: B023
            try:
                found: object = parse()
            except MonocoreError as error:
                found = error.brief
            assert found


def offering(*texts: str) -> Index:
    return as_index(
        index(
            *(
                {**descriptor(OCI_MANIFEST), "size": number, **_platform(text)}
                for number, text in enumerate(texts)
            )
        )
    )


def _platform(text: str) -> Json:
    if not text:
        return {}
    system, architecture, *variant = text.split("/")
    return {"platform": {"os": system, "architecture": architecture, "variant": "".join(variant)}}


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"], "linux/amd64/v2", 1),
        (["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "linux/amd64/v4", 2),
        (["linux/amd64/v2", "linux/amd64/v1"], "linux/amd64", 1),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v7", 1),
        (["linux/arm/v8", "linux/arm"], "linux/arm/v7", 1),
        (["linux/arm/v7"], "linux/arm", 0),
        (["linux/arm64/v8"], "linux/arm64", 0),
        (["linux/arm64/v9", "linux/arm64"], "linux/arm64/v9", 0),
        (["linux/ppc64le/power9", "linux/ppc64le"], "linux/ppc64le", 1),
        (["linux/riscv64"], "linux/riscv64", 0),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
        ([""], "linux/amd64", 0),
        (["unknown/unknown", ""], "linux/amd64", 1),
    ],
)
def test_the_fitting_platform(offered: list[str], wanted: str, chosen: int) -> None:
    assert select_platform(offering(*offered), Platform.parse(wanted)).size == chosen


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        (["linux/amd64/v3"], "linux/amd64"),
        (["linux/arm/v8"], "linux/arm/v7"),
        (["linux/arm/v7"], "linux/arm64"),
        (["linux/386"], "linux/amd64"),
        (["windows/amd64"], "linux/amd64"),
        (["unknown/unknown"], "linux/amd64"),
        (["", ""], "linux/amd64"),
        ([], "linux/amd64"),
        (["linux/ppc64le/power9"], "linux/ppc64le"),
        (["linux/amd64/odd"], "linux/amd64"),
    ],
)
def test_no_fitting_platform(offered: list[str], wanted: str) -> None:
    with pytest.raises(NotFound) as caught:
        select_platform(offering(*offered), Platform.parse(wanted))
    listed = [text for text in offered if text and "unknown" not in text]
    assert f"(available: {', '.join(listed) or 'none'})" in caught.value.brief


def test_attestations_and_artifacts_are_no_images() -> None:
    attestation = descriptor(
        OCI_MANIFEST,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
        **_platform("linux/amd64"),
    )
    artifact = descriptor("application/x", **_platform("linux/amd64"))
    with pytest.raises(NotFound):
        select_platform(as_index(index(attestation, artifact)), Platform("linux", "amd64"))


def test_docker_documents() -> None:
    document = manifest(
        mediaType=DOCKER_MANIFEST,
        config=descriptor(DOCKER_CONFIG),
        layers=[descriptor(DOCKER_LAYER_GZIP)],
    )
    assert as_manifest(document, DOCKER_MANIFEST).layers[0].media_type == DOCKER_LAYER_GZIP
    assert as_index(index(mediaType=DOCKER_INDEX), DOCKER_INDEX).manifests == ()
