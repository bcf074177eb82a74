"""Sandboxes that outlive the process that launched them: found again by key, taken apart by key."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from monocore_core.config.values import Settings
from monocore_core.engine import Engine, new_key
from monocore_core.errors import Conflict
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.sandbox import Sandbox
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image
from monocore_core.vmmkit.process import start_time

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lasting") / "home"


@pytest.fixture(scope="module")
def image(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small Linux, in the store already."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        reference = registry.push(busybox_image(), "lasting/busybox")
        asyncio.run(_pull(home, reference))
    return reference


async def _pull(home: Path, reference: str) -> None:
    async with Engine.open(Settings(home)) as engine:
        await engine.pull(reference, Platform.host())


#: Launches a sandbox, writes into it, and is killed.
LAUNCHER = """
import asyncio, json, os, signal, sys
from pathlib import Path

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest

async def work(home, image, key):
    async with Engine.open(Settings(Path(home))) as engine:
        request = SandboxRequest(image, name="lasting", pull=PullPolicy.NEVER)
        sandbox = await engine.launch(key, request)
        await (await sandbox.exec(CommandRequest(args=("touch", "/kept")))).wait()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(work(*sys.argv[1:]))
"""


async def launched_by_another(home: Path, image: str) -> str:
    key = new_key()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LAUNCHER, str(home), image, key)
    assert await process.wait() == -signal.SIGKILL
    return key


async def output(sandbox: Sandbox, *args: str) -> str:
    process = await sandbox.exec(CommandRequest(args=args))
    said = b""
    while chunk := await process.stdout.read():
        said += chunk
    assert (await process.wait()).code == 0
    return said.decode()


def request_of(image: str, disk: int | None = None) -> SandboxRequest:
    return SandboxRequest(image, name="lasting", pull=PullPolicy.NEVER, disk=disk)


async def test_a_sandbox_outlives_its_process_and_is_found(home: Path, image: str) -> None:
    request = request_of(image)
    key = await launched_by_another(home, image)
    async with Engine.open(Settings(home)) as engine:
        held = engine.store.resolve_image(image, Platform.host(), parse=engine.reference)
        assert held is not None
        plan = engine.plan(request, held)
        assert [lease.key for lease in engine.store.leases()] == [key]
        with pytest.raises(Conflict):
            await engine.launch(key, request)
        sandbox = await engine.adopt(key, request, plan, held)
        assert sandbox is not None
        assert await output(sandbox, "ls", "/kept") == "/kept\n"
        pid = sandbox.machine.pid
        await engine.discard(key, plan)
        assert start_time(pid) is None
        assert await engine.adopt(key, request, plan, held) is None
        assert engine.store.leases() == []
        assert list(engine.store.layout.sandboxes.iterdir()) == []
        await engine.discard(key, plan)  # a repeat finds nothing


async def test_what_a_dead_process_left_is_removed_without_knowing_its_backends(
    home: Path, image: str
) -> None:
    key = await launched_by_another(home, image)
    async with Engine.open(Settings(home)) as engine:
        await engine.discard(key)
        assert engine.store.leases() == []
        assert list(engine.store.layout.sandboxes.iterdir()) == []


@pytest.mark.needs("mkfs.ext4", "e2fsprogs")
async def test_a_disk_stays_from_run_to_run(home: Path, image: str) -> None:
    request = request_of(image, disk=64 * MIB)
    key = new_key()
    async with Engine.open(Settings(home)) as engine:
        sandbox = await engine.launch(key, request)
        await output(sandbox, "sh", "-c", "echo once > /file")
        await sandbox.guest.shutdown(grace=2)
        await engine.discard(key, sandbox.plan, folder=False)
        sandbox = await engine.launch(key, request)
        assert await output(sandbox, "cat", "/file") == "once\n"
        await engine.discard(key, sandbox.plan)
        assert list(engine.store.layout.sandboxes.iterdir()) == []
