"""What tests in several folders share: a registry with an image, and a stranger's environment, in which nothing of the checkout is but wheels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.model.oci import Platform
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

ROOT = Path(__file__).parents[2]
#: What a machine needs to run an image from a folder; the merger is the stranger's.
NEEDED = (".", "plugins/oci_archive", "plugins/vmm_qemu")
_EXTRAS = {"monocore_vmm_qemu": "[kernel]", "monocore_core": "[testing]"}
_SHIM = """\
#!/bin/sh
# what pip is to a person, from what is here already
command=$1
shift
case $command in install) set -- --no-build-isolation --constraint '{constraint}' "$@" ;; esac
UV_CACHE_DIR='{cache}' exec '{uv}' pip "$command" --quiet --python '{python}' "$@"
"""


def uv(*words: str | Path) -> None:
    """Run uv with the cache of the checkout.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        [_program(), *map(str, words)],
        env={**os.environ, "UV_CACHE_DIR": _cache()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def _program() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _cache() -> str:
    return os.environ.get("UV_CACHE_DIR") or str(ROOT / ".cache" / "uv")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the core, QEMU and the archive source, from wheels; ``pip`` stands beside it."""
    folder = tmp_path_factory.mktemp("stranger")
    for package in NEEDED:
        wanted = ("--no-build-isolation", "--python", sys.executable, "--out-dir", folder / "wheels")
        uv("build", "--quiet", "--wheel", *wanted, ROOT / package)
    uv("venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv/bin/python"
    wheels = sorted((folder / "wheels").glob("*.whl"))
    names = [(wheel.name.partition("-")[0], wheel) for wheel in wheels]
    packages = [f"{name}{_EXTRAS.get(name, '')} @ file://{wheel}" for name, wheel in names]
    pinned = ("--constraint", ROOT / "requirements-dev.txt")
    uv("pip", "install", "--quiet", "--python", python, *pinned, *packages, "hatchling", "editables")
    pip = python.with_name("pip")
    pip.write_text(
        _SHIM.format(constraint=ROOT / "requirements-dev.txt", cache=_cache(), uv=_program(), python=python)
    )
    pip.chmod(0o755)
    return python


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """A docker-registry on loopback."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="session")
def served(local: LocalRegistry) -> str:
    """Reference of an image in the registry: busybox with all its applets."""
    return local.push(busybox_image(platform=Platform.host()), "test/busybox", "latest")
