"""A malicious agent as PID 1 of a real machine, or a kernel with words that mean harm, beside a neighbour with the real ones."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.erofs import directory, regular, self_contained
from monocore_core.model.oci import Platform
from monocore_core.model.record import SandboxOrder
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.testing.archives import layout_members, tar_of
from monocore_core.testing.samples import busybox_image
from tests.integration.malicious.world import CONSOLE, LOGS, NEIGHBOUR, World

_FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="package")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the boot disk of an agent: the program, and the mode that it reads."""
    folder = tmp_path_factory.mktemp("agents")
    program = folder / "agent"
    sources = sorted(Path(__file__).with_name("agent").glob("*.c"))
    subprocess.run(["gcc", *_FLAGS, "-o", program, *sources], check=True, timeout=60)
    content = program.read_bytes()

    def make(mode: str) -> Path:
        made = folder / f"{mode.replace(' ', '-')}.erofs"
        if not made.exists():
            entries = {
                b"init": regular(content, mode=0o755),
                b"mode": regular(mode.encode()),
                **{name: directory() for name in (b"dev", b"proc", b"sys")},
            }
            made.write_bytes(self_contained(directory(entries), name=b"malicious"))
        return made

    return make


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("malicious") / "home"


@pytest.fixture(scope="package")
def settings(home: Path) -> Settings:
    """Every machine boots, so that it has the agent that it is given."""
    return Settings(home, plugins={"vmm_qemu": {"templates": False, "console_limit": CONSOLE}})


@pytest.fixture(scope="package")
def image(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small Linux, in the store already."""
    archive = tmp_path_factory.mktemp("image") / "busybox.tar"
    archive.write_bytes(tar_of(layout_members(busybox_image())))
    reference = f"oci-archive:{archive}"

    async def pull() -> None:
        async with Engine.open(settings) as engine:
            await engine.pull(reference, Platform.host())

    asyncio.run(pull())
    return reference


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def opened(settings: Settings, image: str, disk: Callable[[str], Path]) -> AsyncIterator[World]:
    """A daemon's sandboxes, with the neighbour."""
    problems: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        del loop
        problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(note)
    async with Sandboxes.open(settings, log_limits=LOGS) as sandboxes:
        request = SandboxRequest(image, name=NEIGHBOUR, pull=PullPolicy.NEVER, memory=96 * MIB)
        sandboxes.create(SandboxOrder(request, CommandRequest(args=("sleep", "100000"))))
        await sandboxes.start(NEIGHBOUR)
        world = World(sandboxes, settings.home, image, disk, problems)
        try:
            with world.boots():
                yield world
        finally:
            await sandboxes.remove(NEIGHBOUR, force=True)


@pytest_asyncio.fixture(loop_scope="package")
async def world(opened: World) -> AsyncIterator[World]:
    """With the neighbour alone afterwards."""
    yield opened
    await opened.clear()
