"""What the tests of networks share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from monocore_core.interfaces.provider import Host
from monocore_core.plugins import discover
from monocore_core.testing.archives import layout_members, tar_of
from monocore_core.testing.filespec import file
from monocore_core.testing.samples import busybox_image


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    source = Path(__file__).with_name("reach.c")
    program = folder / "reach"
    subprocess.run(
        ["gcc", "-O1", "-static", "-Wall", "-Werror", "-o", program, source], check=True, timeout=60
    )
    image = busybox_image(extra=(file("bin/reach", program.read_bytes(), mode=0o755),))
    archive = folder / "image.tar"
    archive.write_bytes(tar_of(layout_members(image)))
    archive.chmod(0o644)
    return archive


def require_network(folder: Path) -> None:
    """Skip where net_tap cannot work."""
    provider = next(each.provider for each in discover().backends if each.name == "net_tap")
    problem = provider.probe(Host(folder, folder), provider.options())
    if problem is not None:
        pytest.skip(f"net_tap: {problem.reason}")
    if shutil.which("nsenter") is None:
        pytest.skip("nsenter is not installed")
