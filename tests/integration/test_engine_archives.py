"""Files of this host as images: what a reference means, when it is asked again, what is told, and how archives are loaded."""

import json
from pathlib import Path

import pytest

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.errors import Corrupt, InvalidInput, NotFound, NothingFits, Unsupported
from monocore_core.model.events import Event, LayerDone, LayerProgress, Resolved
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import PullPolicy, SandboxRequest
from monocore_core.reference import Reference, parse_reference
from monocore_core.testing.archives import layout_members, saved_members, tar_of
from monocore_core.testing.filespec import file
from monocore_core.testing.images import build_image

pytestmark = pytest.mark.integration
HOST = Platform.host()
TAG = "org.opencontainers.image.ref.name"


def image_of(text: bytes) -> dict[str, bytes | str]:
    return saved_members(build_image([[file("text", text)]], platform=HOST), "team/app:1")


async def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Engine.open(Settings(home=tmp_path / "home")) as engine:
        expected = Reference("", f"{tmp_path}/a.tar:x", scheme="oci-archive")
        for text in ("oci-archive:a.tar:x", "oci-archive:./a.tar:x", f"oci-archive:{tmp_path}/a.tar:x"):
            assert engine.reference(text) == engine.local_reference(text) == expected
        assert engine.local_reference("rootfs") is None
        assert engine.local_reference("alpine:3") is None
        assert engine.reference("rootfs") == parse_reference("rootfs")
        with pytest.raises(InvalidInput, match="not UTF-8"):
            engine.reference("rootfs:\udcff")


async def test_a_file_is_asked_again_unless_never(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    text = f"docker-archive:{path}"
    events: list[Event] = []
    async with Engine.open(Settings(home=tmp_path / "home"), listener=events.append) as engine:
        with pytest.raises(NotFound, match=r"a\.tar"):
            await engine.image(text, HOST, PullPolicy.MISSING)
        path.write_bytes(tar_of(image_of(b"1")))
        first = await engine.image(text, HOST, PullPolicy.MISSING)
        assert {type(event) for event in events} == {Resolved, LayerProgress, LayerDone}
        assert first.references == (text,)
        events.clear()
        assert (await engine.image(text, HOST, PullPolicy.MISSING)).digest == first.digest
        assert events == []
        await engine.image(text, HOST, PullPolicy.ALWAYS)
        assert {type(event) for event in events} == {Resolved, LayerDone}
        assert engine.plan(SandboxRequest(image=text), first).image_source == "oci_archive"
        path.write_bytes(tar_of(image_of(b"2")))
        assert (await engine.image(text, HOST, PullPolicy.NEVER)).digest == first.digest
        assert (await engine.image(text, HOST, PullPolicy.MISSING)).digest != first.digest


async def test_loading(tmp_path: Path) -> None:
    image = build_image([[file("a")]], platform=HOST)
    names: tuple[dict[str, str], ...] = ({TAG: "team/app:1"}, {TAG: "1.0"}, {TAG: "Not a name:x"}, {})
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(layout_members(image, *names)))
    place = Reference("", str(path), scheme="oci-archive")
    async with Engine.open(Settings(home=tmp_path / "home")) as engine:
        given = [names async for _, names in engine.load(place, HOST)]
        assert given == [(parse_reference("team/app:1"),), (), (), ()]
        (loaded,) = engine.store.images()
        assert loaded.references == ("docker.io/team/app:1",)
        with pytest.raises(InvalidInput, match="4 images"):
            [names async for _, names in engine.load(place, HOST, (parse_reference("x"),))]
        with pytest.raises(Unsupported, match="holds no archives"):
            [names async for _, names in engine.load(parse_reference("alpine"), HOST)]
        with pytest.raises(NothingFits):
            [names async for _, names in engine.load(Reference("", "x", scheme="nonesuch"), HOST)]


async def test_those_before_a_damaged_one_stay(tmp_path: Path) -> None:
    good, bad = image_of(b"1"), image_of(b"2")
    listed = [*json.loads(good["manifest.json"]), *json.loads(bad["manifest.json"])]
    listed[1]["RepoTags"] = ["bad:1"]
    bad[listed[1]["Layers"][0]] = tar_of({"other": b""})
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({**good, **bad, "manifest.json": json.dumps(listed).encode()}))
    place = Reference("", str(path), scheme="oci-archive")
    loaded: list[str] = []
    async with Engine.open(Settings(home=tmp_path / "home")) as engine:

        async def load() -> None:
            async for image, _ in engine.load(place, HOST):
                loaded.extend(image.references)

        with pytest.raises(Corrupt, match="layer"):
            await load()
        assert loaded == ["docker.io/team/app:1"]
        (image,) = engine.store.images()
        assert list(image.references) == loaded
