"""Pulling from Debian's docker-registry: what was pushed comes back, and what is missing is said."""

import base64
import json
import sys
from pathlib import Path

import pytest
from attrs import evolve
from monocore_oci_registry import RegistryOptions

from monocore_core.errors import (
    ConfigError,
    Corrupt,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference
from monocore_core.testing.filespec import file
from monocore_core.testing.images import build_image, build_index
from monocore_core.testing.packing import Compression
from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.sources import SourceOpener, read_blob, resolved

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "docker-registry")]
Opener = SourceOpener[RegistryOptions]

LAYERS = ([file("a", b"1" * 100_000)], [file("b", bytes(range(256)) * 9000)])
ARM = Platform("linux", "arm64")


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
async def test_every_byte_comes_back(
    registry: LocalRegistry, opener: Opener, compression: Compression, docker: bool
) -> None:
    image = build_image(LAYERS, compression=compression, docker=docker)
    reference = registry.push(image, f"team/{compression}", "docker" if docker else "oci")
    async with opener() as source:
        found = await resolved(source, reference)
        assert (found.digest, found.manifest_bytes) == (image.digest, image.manifest)
        assert found.manifest.layers == image.layers
        for descriptor in (found.manifest.config, *found.manifest.layers):
            data = image.blob(descriptor.digest)
            assert await read_blob(source, found, descriptor) == data
            for offset in (1, len(data) - 1, len(data)):
                assert await read_blob(source, found, descriptor, offset) == data[offset:]
        with pytest.raises(InvalidInput, match="offset"):
            await read_blob(source, found, image.layers[0], image.layers[0].size + 1)
    assert not opener.events


@pytest.mark.parametrize("docker", [False, True])
async def test_an_index_gives_the_image_of_a_platform(
    registry: LocalRegistry, opener: Opener, docker: bool
) -> None:
    first, second = build_image(LAYERS, docker=docker), build_image(LAYERS, platform=ARM, docker=docker)
    reference = registry.push(build_index([first, second], docker=docker), "team/both", str(docker))
    async with opener() as source:
        assert (await resolved(source, reference)).digest == first.digest
        found = await resolved(source, reference, "linux/arm64")
        assert (found.digest, found.platform) == (second.digest, ARM)
        with pytest.raises(NotFound, match=r"linux/s390x.*linux/amd64, linux/arm64"):
            await resolved(source, reference, "linux/s390x")


async def test_a_digest_names_an_image_whatever_the_tag(registry: LocalRegistry, opener: Opener) -> None:
    old, new = build_image(LAYERS[:1]), build_image(LAYERS)
    reference = registry.push(old, "team/moving", "1")
    registry.push(new, "team/moving", "1")
    async with opener() as source:
        assert (await resolved(source, reference)).digest == new.digest
        assert (await resolved(source, f"{reference}@{old.digest}")).digest == old.digest
        missing = Digest.of(b"missing")
        with pytest.raises(NotFound, match=rf"no digest {missing}"):
            await resolved(source, f"{registry.address}/team/moving@{missing}")


async def test_what_is_missing_is_named(registry: LocalRegistry, opener: Opener) -> None:
    image = build_image([[file("lost", b"lost")]])
    reference = registry.push(image, "team/lost", "1")
    registry.delete_blob("team/lost", image.layers[0].digest)
    async with opener() as source:
        with pytest.raises(NotFound, match=rf"{registry.address} has no tag 2 in repository team/lost"):
            await resolved(source, f"{registry.address}/team/lost:2")
        with pytest.raises(NotFound, match="team/unknown") as caught:
            await resolved(source, f"{registry.address}/team/unknown")
        assert "spelling" in (caught.value.hint or "")
        found = await resolved(source, reference)
        with pytest.raises(NotFound, match="missing from the registry"):
            await read_blob(source, found, image.layers[0])
        with pytest.raises(Unsupported, match="registry"):
            await source.resolve(Reference("", "a.tar", scheme="oci-archive"), ARM)


async def test_a_blob_of_another_size_than_announced_is_refused(
    registry: LocalRegistry, opener: Opener
) -> None:
    image = build_image(LAYERS, compression="none")
    reference = registry.push(image, "team/size", "1")
    layer = image.layers[0]
    async with opener() as source:
        found = await resolved(source, reference)
        for lie in (layer.size - 1, layer.size + 1):
            with pytest.raises(Corrupt, match=str(lie)):
                await read_blob(source, found, evolve(layer, size=lie))
        with pytest.raises(Corrupt, match="fewer"):
            await read_blob(source, found, evolve(layer, size=layer.size + 9), layer.size + 5)


def log_in(opener: Opener, address: str, name: str, password: str) -> None:
    entry = {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}
    (opener.folder / "docker").mkdir(exist_ok=True)
    (opener.folder / "docker" / "config.json").write_text(json.dumps({"auths": {address: entry}}))


async def test_basic_authentication(tmp_path: Path, opener: Opener) -> None:
    image = build_image(LAYERS)
    with LocalRegistry(tmp_path / "r", users={"ann": "p:ss wörd"}) as private:
        reference = private.push(image, "team/app", "1")
        async with opener() as source:
            with pytest.raises(Unauthorized, match="needs a login") as caught:
                await resolved(source, reference)
            assert f"docker login {private.address}" in (caught.value.hint or "")
            log_in(opener, private.address, "ann", "wrong")
            with pytest.raises(Unauthorized, match="refuses our credentials"):
                await resolved(source, reference)
            log_in(opener, private.address, "ann", "p:ss wörd")
            found = await resolved(source, reference)
            assert await read_blob(source, found, image.layers[1]) == image.blob(image.layers[1].digest)


HELPER = f"""#!{sys.executable}
import json, sys
server = sys.stdin.read().strip()
mode = sys.argv[0].rpartition("-")[2]
if sys.argv[1:] != ["get"]: sys.exit("wrong command")
if mode == "none": print("credentials not found in native keychain"); sys.exit(1)
if mode == "locked": print("the keyring is locked"); sys.exit(1)
if mode == "endless":
    while True: print("x" * 65536)
if mode == "hanging": sys.stdin.close(); import signal; signal.pause()
print(json.dumps({{"ServerURL": server, "Username": "ann", "Secret": "secret"}}))
"""


async def test_a_credential_helper_is_asked(
    tmp_path: Path, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "bin").mkdir()
    for mode in ("good", "none", "locked", "endless", "hanging"):
        program = tmp_path / "bin" / f"docker-credential-{mode}"
        program.write_text(HELPER)
        program.chmod(0o755)
    (tmp_path / "docker").mkdir()
    config = tmp_path / "docker" / "config.json"
    with LocalRegistry(tmp_path / "r", users={"ann": "secret"}) as private:
        reference = private.push(build_image(LAYERS), "team/app", "1")
        for table in (
            {"credsStore": "good"},
            {"credsStore": "none", "credHelpers": {private.address: "good"}},
        ):
            config.write_text(json.dumps(table))
            async with opener() as source:
                await resolved(source, reference)
        for mode, words in (
            ("none", "needs a login"),
            ("locked", "the keyring is locked"),
            ("absent", "not installed"),
            ("endless", "says more than"),
            ("hanging", "did not answer within"),
        ):
            config.write_text(json.dumps({"credsStore": mode}))
            async with opener(evolve(opener.options, helper_timeout=0.5)) as source:
                with pytest.raises(Unauthorized, match=words):
                    await resolved(source, reference)


async def test_tls_is_verified(tmp_path: Path, opener: Opener) -> None:
    with LocalRegistry(tmp_path / "r", tls=True) as private:
        reference = private.push(build_image(LAYERS), "team/app", "1")
        async with opener() as source:
            with pytest.raises(Unreachable, match="not trusted") as caught:
                await resolved(source, reference)
            assert "plugins.oci_registry.ca" in (caught.value.hint or "")
        for options in (RegistryOptions(ca=private.ca), RegistryOptions(insecure=("127.0.0.0/8",))):
            async with opener(options) as source:
                await resolved(source, reference)
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"bad\.pem"):
        async with opener(RegistryOptions(ca=tmp_path / "bad.pem")):
            pass


async def test_a_mirror_is_asked_first_and_the_registry_where_it_fails(
    registry: LocalRegistry, tmp_path: Path, opener: Opener
) -> None:
    image, other = build_image(LAYERS), build_image(LAYERS[:1])
    reference = registry.push(image, "team/mirrored", "1")
    only_origin = registry.push(other, "team/origin", "1")
    with LocalRegistry(tmp_path / "r") as mirror:
        mirror.push(image, "cache/team/mirrored", "1")
        mirror.delete_blob("cache/team/mirrored", image.layers[0].digest)
        options = RegistryOptions(mirrors={registry.address: (f"http://{mirror.address}/cache",)})
        async with opener(evolve(options, attempts=2)) as source:
            found = await resolved(source, reference)
            for layer in image.layers:  # the first is at the origin only
                assert await read_blob(source, found, layer) == image.blob(layer.digest)
            assert (await resolved(source, only_origin)).digest == other.digest
            assert not opener.events
            mirror.stop()
            assert (await resolved(source, reference)).digest == image.digest
            assert any("passed over" in str(event) for event in opener.events)


async def test_nobody_at_home(opener: Opener, tmp_path: Path) -> None:
    with LocalRegistry(tmp_path / "r") as gone:
        address = gone.address
    async with opener() as source:
        with pytest.raises(Unreachable, match=rf"{address}/a/b:latest: {address} refused the connection"):
            await resolved(source, f"{address}/a/b")
        with pytest.raises(Unreachable, match=r"registry\.invalid cannot be resolved"):
            await resolved(source, "registry.invalid/a/b")
