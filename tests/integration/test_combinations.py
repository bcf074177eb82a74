"""One image, one command, one expected output, through every combination of a VMM and a layer merger that is installed.

What the backends' capabilities exclude, or this host lacks, is refused with a reason that names the backend. Combinations whose VMM needs
hardware virtualisation carry the marker ``kvm``: they run where it works, which the nested lane makes anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.config.values import Backends, Settings
from monocore_core.engine import Engine
from monocore_core.errors import NothingFits
from monocore_core.model.oci import Manifest, Platform
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.ocidoc import parse_manifest
from monocore_core.plan.matrix import Combination
from monocore_core.reference import parse_reference
from monocore_core.sandbox import Sandbox
from monocore_core.testing.filespec import file, symlink, whiteout
from monocore_core.testing.memory import MemoryImage, MemorySource
from monocore_core.testing.samples import busybox_image
from scripts.combinations_reference import pairs

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: VMMs that need what an emulated machine does not have.
HARDWARE = frozenset({"vmm_libkrun"})
SCRIPT = """
set -e
echo "$(cat /etc/greeting) from $(uname -s)"
test -L /etc/link && cat /etc/link
stat -c '%a %u:%g %h' /etc/greeting /tmp
test ! -e /gone
echo written >/etc/greeting && cat /etc/greeting
mkdir -p /new/folder && ln /etc/greeting /new/folder/hard && ls /new/folder
"""
EXPECTED = "hello from Linux\nhello\n644 0:0 1\n1777 0:0 2\nwritten\nhard\n"


def combination(pair: Combination) -> object:
    marks = [pytest.mark.kvm] if pair.vmm in HARDWARE and pair.fits else []
    return pytest.param(pair, id=f"{pair.vmm}-{pair.layer_merger}", marks=marks)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("combinations") / "home"
    yield home
    asyncio.run(without_roots(home))


async def without_roots(home: Path) -> None:
    """Remove the image with its roots, some of which are mounts."""
    async with Engine.open(Settings(home)) as engine:
        engine.store.prune(all_unused=True)
        await engine.sweep_roots()


@pytest.fixture
async def image(home: Path) -> str:
    """Two layers, the upper of which takes files away, replaces one and links to one of the lower."""
    above = (file("etc/greeting", b"hello\n"), symlink("etc/link", "greeting"), whiteout("gone"))
    built = busybox_image(extra=(file("gone"), file("etc/greeting", b"old\n")), above=(above,))
    name = parse_reference("test.example/combinations:1")
    manifest = parse_manifest(built.manifest, built.media_type)
    blobs = {digest: blob.read() for digest, blob in built.blobs.items()}
    assert isinstance(manifest, Manifest)
    source = MemorySource()
    source.add(name, MemoryImage(manifest, built.manifest, blobs, built.diff_ids))
    async with Engine.open(Settings(home)) as engine:
        await engine.store.pull(source, name, Platform.host())
    return str(name)


async def output(sandbox: Sandbox, script: str) -> tuple[str, str]:
    process = await sandbox.exec(CommandRequest(args=("sh", "-c", script)))
    out, err = b"", b""
    while chunk := await process.stdout.read(65536):
        out += chunk
    while chunk := await process.stderr.read(65536):
        err += chunk
    await process.wait()
    return out.decode(), err.decode()


@pytest.mark.parametrize("pair", [combination(pair) for pair in pairs()])
async def test_a_combination_runs_or_says_why_not(pair: Combination, home: Path, image: str) -> None:
    settings = Settings(home, Backends(vmm=pair.vmm, layer_merger=pair.layer_merger))
    async with Engine.open(settings) as engine:
        (here,) = (
            found
            for found in engine.combinations(SandboxRequest(image))
            if (found.vmm, found.layer_merger) == (pair.vmm, pair.layer_merger)
        )
        assert here.fits == pair.fits
        if not here.reason:
            async with (
                engine.sandbox(SandboxRequest(image)) as first,
                engine.sandbox(SandboxRequest(image)) as second,
            ):
                assert (first.plan.vmm, first.plan.layer_merger) == (pair.vmm, pair.layer_merger)
                assert await output(first, SCRIPT) == (EXPECTED, "")
                assert await output(second, "cat /etc/greeting; ls /new") == (
                    "hello\n",
                    "ls: /new: No such file or directory\n",
                )
            return
        with pytest.raises(NothingFits) as refused:
            async with engine.sandbox(SandboxRequest(image)):
                pytest.fail("a combination that does not fit ran")
        words = " ".join([refused.value.brief, *refused.value.reasons])
        assert pair.vmm in words or pair.layer_merger in words
        assert list(engine.store.layout.sandboxes.iterdir()) == []
