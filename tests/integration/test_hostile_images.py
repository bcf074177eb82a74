"""Images that attack: each is merged right, inside the root, or refused with a sentence; the host is untouched."""

import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError
from monocore_core.model.digest import Digest
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.sandbox import Sandbox
from monocore_core.testing.filespec import (
    FileSpec,
    directory,
    file,
    hardlink,
    opaque,
    symlink,
    tar_bytes,
    whiteout,
)
from monocore_core.testing.packing import Blob, PackedLayer, pack
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "home"


@pytest.fixture
async def engine(home: Path) -> AsyncIterator[Engine]:
    async with Engine.open(Settings(home)) as opened:
        yield opened


async def shell(sandbox: Sandbox, script: str) -> list[str]:
    process = await sandbox.exec(CommandRequest(args=("sh", "-c", script)))
    chunks: list[bytes] = []
    while chunk := await process.stdout.read(65536):
        chunks.append(chunk)
    errors = await process.stderr.read(4096)
    assert (await process.wait()).code == 0, errors.decode()
    return b"".join(chunks).decode().splitlines()


def truncated() -> PackedLayer:
    """A gzip stream that ends early, with a digest that is right for what is left of it."""
    whole = pack([file("a", bytes(100_000))])
    cut = whole.blob.read()[:-20]
    return evolve(whole, blob=Blob(data=cut), digest=Digest.of(cut))


def bomb() -> PackedLayer:
    """Two gibibytes of nothing in two mebibytes: more than a thousand to one."""
    data = gzip.compress(bytes(1 << 26), 9) * 32
    return PackedLayer(Blob(data=data), Digest.of(data), Digest.of(b"never reached"), "gzip")


def lying() -> PackedLayer:
    """A layer that is not the one its configuration names."""
    return evolve(pack([file("a", b"real")]), diff_id=Digest.of(b"something else"))


REFUSED: dict[str, list[FileSpec] | PackedLayer] = {
    "a path that climbs": [file("../escape", b"x")],
    "a path that climbs in the middle": [file("etc/../../escape", b"x")],
    "a hard link that climbs": [hardlink("etc/shadow2", "../../etc/shadow")],
    "a hard link to nothing": [hardlink("etc/x", "etc/does-not-exist")],
    "a file below a file": [file("etc/passwd/below", b"x")],
    "a symlink that leads to itself": [symlink("loop", "loop"), file("loop/x", b"x")],
    "a whiteout of the parent": [file("etc/.wh...", b"")],
    "a whiteout of nothing": [file("etc/.wh.", b"")],
    "no tar at all": pack(b"this is no tar" * 100),
    "a tar that ends in a file": pack(tar_bytes([file("a", bytes(5000))])[:2000]),
    "a truncated gzip": truncated(),
    "a bomb": bomb(),
    "another layer than announced": lying(),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_with_a_sentence(registry: LocalRegistry, engine: Engine, name: str) -> None:
    layer = REFUSED[name]
    reference = registry.push(busybox_image(above=(layer,)), "hostile/refused", name.replace(" ", "-"))
    with pytest.raises(MonocoreError) as caught:
        async with engine.sandbox(SandboxRequest(reference)):
            pytest.fail("it must not run")
    assert isinstance(caught.value, Corrupt | LimitExceeded), repr(caught.value)
    assert 20 < len(caught.value.brief) < 500
    assert "\n" not in caught.value.brief
    assert engine.store.leases() == []


async def test_what_is_odd_but_allowed_stays_inside_the_root(
    registry: LocalRegistry, engine: Engine, tmp_path: Path
) -> None:
    target = tmp_path / "host"
    target.mkdir()
    below: list[FileSpec] = [
        directory("data"),
        file("data/gone", b"x"),
        directory("data/emptied"),
        file("data/emptied/old", b"x"),
        file("data/kept", b"kept"),
        symlink("out", f"../../../../..{target}"),
        symlink("absolute", "/etc"),
        directory("many"),
        *(file(f"many/{number:06}", b"") for number in range(20_000)),
    ]
    above: list[FileSpec] = [
        file("/rooted", b"rooted"),
        file("./data/../dotted", b"dotted"),
        file("out/planted", b"planted"),
        file("absolute/planted", b"planted"),
        whiteout("data/gone"),
        opaque("data/emptied"),
        file("data/emptied/new", b"new"),
        whiteout("no/such/parent"),
        hardlink("data/linked", "data/kept"),
        symlink("etc/link", "/nowhere"),
        file("sbin/rootly", b"#!/bin/sh\nid -u\n", 0o4755),
    ]
    image = busybox_image(above=(below, above))
    reference = registry.push(image, "hostile/allowed")
    async with engine.sandbox(SandboxRequest(reference)) as sandbox:
        assert await shell(
            sandbox,
            f"cat /rooted; echo; cat /dotted; echo; cat {target}/planted; echo; cat /etc/planted; echo;"
            "ls /data /data/emptied; stat -c %h /data/kept; readlink /etc/link; stat -c %a /sbin/rootly;"
            "ls /many | wc -l; ls -d /no 2>&1 || true",
        ) == [
            "rooted",
            "dotted",
            "planted",
            "planted",
            *("/data:", "emptied", "kept", "linked", "", "/data/emptied:", "new"),
            "2",
            "/nowhere",
            "4755",
            "20000",
            "ls: /no: No such file or directory",
        ]
    assert list(target.iterdir()) == []
