"""Volumes as people write them, and which folders of the host may be shared."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.errors import InvalidInput
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.sandbox import SandboxRequest
from monocore_core.model.volume import MAX_MOUNTS, VolumeKind, VolumeMount, check_targets, refusal

CWD = Path("/base")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv:/data", VolumeMount("/data", "/srv")),
        ("/srv:/data:ro", VolumeMount("/data", "/srv", readonly=True)),
        ("/srv:/data:rw,z", VolumeMount("/data", "/srv")),
        ("./a:/data", VolumeMount("/data", "/base/a")),
        ("../a:/data", VolumeMount("/data", "/a")),
        (".:/data", VolumeMount("/data", "/base")),
        ("cache:/data//x/../y/", VolumeMount("/data/y", "cache")),
        ("cache:/data:ro", VolumeMount("/data", "cache", readonly=True)),
        ("/data", VolumeMount("/data")),
    ],
)
def test_what_docker_takes(text: str, expected: VolumeMount) -> None:
    assert VolumeMount.parse(text, CWD) == expected


def test_the_kinds() -> None:
    kinds = [VolumeMount.parse(text, CWD).kind for text in ("/a:/b", "a:/b", "/b")]
    assert kinds == [VolumeKind.HOST, VolumeKind.NAMED, VolumeKind.OWN]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        ":/b",
        "a:b",
        "/a:b",
        "a:/b:",
        "a:/b:rx",
        "a:/b:ro:ro",
        "a:/",
        "/",
        "a:/x/..",
        "a b:/c",
        "-a:/b",
        "a\0:/b",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        VolumeMount.parse(text, CWD)


@given(st.text(max_size=60))
def test_any_text_is_a_volume_or_refused(text: str) -> None:
    try:
        volume = VolumeMount.parse(text, CWD)
    except InvalidInput:
        return
    assert volume.target.startswith("/")
    assert ".." not in volume.target.split("/")
    assert volume.source == "" or "/" not in volume.source or volume.source.startswith("/")


def test_one_target_has_one_mount() -> None:
    with pytest.raises(InvalidInput, match="one target: /data"):
        SandboxRequest(image="a", tmpfs=(TmpfsMount("/data/"),), volumes=(VolumeMount("/data"),))


def test_a_bounded_number_of_mounts() -> None:
    check_targets(f"/{number}" for number in range(MAX_MOUNTS))
    with pytest.raises(InvalidInput, match="more than"):
        check_targets(f"/{number}" for number in range(MAX_MOUNTS + 1))


@pytest.mark.parametrize(
    ("path", "allowed", "reason"),
    [
        ("/srv/a", ("/",), None),
        ("/srv/a", ("/srv",), None),
        ("/srv", ("/srv",), None),
        ("/srv2", ("/srv",), "none of the folders"),
        ("/", ("/srv",), "none of the folders"),
        ("/srv", (), "none of the folders"),
        ("/home/me/.monocore", ("/",), "monocore's own"),
        ("/home/me/.monocore/layers", ("/",), "monocore's own"),
        ("/home/me/.monocore2", ("/",), None),
        ("/proc/1", ("/",), "never shared"),
        ("/dev", ("/",), "never shared"),
        ("/sys/fs", ("/",), "never shared"),
        ("/process", ("/",), None),
    ],
)
def test_which_folders_may_be_shared(path: str, allowed: tuple[str, ...], reason: str | None) -> None:
    found = refusal(Path(path), map(Path, allowed), Path("/home/me/.monocore"))
    assert (found is None) == (reason is None)
    if reason is not None:
        assert found is not None
        assert reason in found
