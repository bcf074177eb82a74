"""A guest of the tests' own: a static PID 1 in a small EROFS disk, booted by the real QEMU."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from monocore_vmm_qemu.probe import find_binary

from monocore_core.interfaces.provider import Host
from monocore_core.model.machine import MachineSpec
from monocore_core.model.security import JailMode, Security
from monocore_core.vmmkit.guestkernel import find_source

MIB = 1024 * 1024
SpecMaker = Callable[..., MachineSpec]


@pytest.fixture(scope="session")
def boot_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EROFS disk whose /init is ``guest/init.c``."""
    for program in ("gcc", "mkfs.erofs"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian packages gcc, erofs-utils)")
    if find_binary(None, "amd64") is None:
        pytest.skip("needs qemu-system-x86_64 (Debian package qemu-system-x86)")
    if find_source(None, "amd64") is None:
        pytest.skip("needs libkrunfw (pip install 'monocore-vmm-qemu[kernel]')")
    folder = tmp_path_factory.mktemp("guest")
    tree = folder / "tree"
    for name in ("dev", "proc", "sys"):
        (tree / name).mkdir(parents=True)
    source = Path(__file__).parent / "guest" / "init.c"
    subprocess.run(["gcc", "-Os", "-static", "-o", str(tree / "init"), str(source)], check=True)
    disk = folder / "boot.erofs"
    subprocess.run(["mkfs.erofs", str(disk), str(tree)], check=True, capture_output=True)
    return disk


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def host(tmp_path: Path, kernel_cache: Path) -> Host:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return Host(state=state, cache=kernel_cache, security=Security(jail=JailMode.AUTO))


@pytest.fixture
def spec(tmp_path: Path) -> SpecMaker:
    """Makes specifications with a key and a folder of their own."""

    def make(boot: Path, **changes: object) -> MachineSpec:
        key = uuid.uuid4().hex
        directory = tmp_path / key
        directory.mkdir(mode=0o700)
        values: dict[str, object] = {
            "key": key,
            "architecture": "amd64",
            "vcpus": 1,
            "memory": 128 * MIB,
            "boot": boot,
            "directory": directory,
            "console": directory / "console.log",
            **changes,
        }
        return MachineSpec(**values)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    return make
