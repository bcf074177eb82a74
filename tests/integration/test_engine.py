"""One sandbox, for real: a registry, a VM, and nothing left behind however it ends."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.errors import CommandNotFound, ConfigError, InvalidInput, MonocoreError, NotFound
from monocore_core.interfaces.provider import Interface
from monocore_core.model.events import Began, Event, Stage, Warned
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.roots import root_key
from monocore_core.sandbox import Sandbox
from monocore_core.testing.filespec import file
from monocore_core.testing.images import build_image
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

pytestmark = pytest.mark.integration

STAGES = ["plan", "image", "merge", "network", "assemble", "spawn", "boot", "root"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small Linux in a real registry."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.push(busybox_image(), "engine/busybox")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine") / "home"


def processes_of(home: Path) -> list[int]:
    """Other processes that have a file of the home open."""
    found: set[int] = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        pid = int(descriptor.parts[2])
        try:
            if pid != os.getpid() and str(descriptor.readlink()).startswith(str(home)):
                found.add(pid)
        except OSError:  # closed meanwhile, or another user's
            continue
    return sorted(found)


async def assert_nothing_remains(engine: Engine, home: Path) -> None:
    await engine.preparer.settled()  # a template's machine is a process, too
    assert processes_of(home) == []
    assert engine.store.leases() == []
    assert list(engine.store.layout.sandboxes.iterdir()) == []


async def output(sandbox: Sandbox, *args: str) -> str:
    process = await sandbox.exec(CommandRequest(args=args))
    chunks: list[bytes] = []
    while chunk := await process.stdout.read(65536):
        chunks.append(chunk)
    ended = await process.wait()
    errors = await process.stderr.read(4096)
    assert ended.code == 0, errors.decode()
    return b"".join(chunks).decode()


def in_order(stages: list[str]) -> list[str]:
    """Stages, with the two that are under way at once in the order of :data:`STAGES`."""
    return [*stages[:2], *sorted(stages[2:4]), *stages[4:]]


async def test_a_sandbox_runs_and_leaves_nothing(image: str, home: Path) -> None:
    stages: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Stage):
            stages.append(event.name)

    async with Engine.open(Settings(home), listener=listen) as engine:
        async with engine.sandbox(SandboxRequest(image)) as sandbox:
            assert "Linux" in await output(sandbox, "uname", "-a")
            assert await output(sandbox, "hostname") == sandbox.id + "\n"
            failing = await sandbox.exec(CommandRequest(args=("sh", "-c", "exit 7")))
            assert (await failing.wait()).code == 7
            with pytest.raises(CommandNotFound, match="no-such-program"):
                await sandbox.exec(CommandRequest(args=("no-such-program",)))
            assert [lease.key for lease in engine.store.leases()] == [sandbox.id]
            await engine.preparer.settled()  # a template's machine is a process, too
            assert processes_of(home) == [sandbox.machine.pid]
        await assert_nothing_remains(engine, home)
    assert in_order(stages) == [*STAGES, "exec"]


async def test_a_command_begins_with_its_sandbox_in_a_copy_of_a_template(image: str, home: Path) -> None:
    events: list[Event] = []
    async with Engine.open(Settings(home), listener=events.append) as engine:
        async with engine.sandbox(
            SandboxRequest(image)
        ):  # makes the template of its shape, where there is none yet
            await engine.preparer.settled()
        command = CommandRequest(args=("sh", "-c", "hostname; exit 3"))
        async with engine.sandbox(SandboxRequest(image), command=command) as sandbox:
            assert sandbox.first is not None
            assert await sandbox.first.stdout.read(4096) == f"{sandbox.id}\n".encode()
            assert (await sandbox.first.wait()).code == 3
            assert in_order([stage.name for stage in sandbox.stages]) == [*STAGES, "exec"]
            if sandbox.plan.vmm == "vmm_qemu":
                assert Began(sandbox.id, copied=True) in events
        with pytest.raises(CommandNotFound, match="no-such-program"):
            async with engine.sandbox(
                SandboxRequest(image), command=CommandRequest(args=("no-such-program",))
            ):
                pytest.fail("a sandbox without its command was given")
        await assert_nothing_remains(engine, home)
    assert not [event for event in events if isinstance(event, Warned)]


async def test_two_sandboxes_share_the_root_and_nothing_else(image: str, home: Path) -> None:
    async with Engine.open(Settings(home)) as engine:
        async with engine.sandbox(SandboxRequest(image)) as one, engine.sandbox(SandboxRequest(image)) as two:
            assert one.root == two.root
            await output(one, "sh", "-c", "echo mine > /etc/secret; rm /etc/passwd")
            assert (
                await output(two, "sh", "-c", "ls /etc/secret 2>/dev/null; ls /etc/passwd") == "/etc/passwd\n"
            )
            serial = "cat /proc/sys/kernel/random/boot_id"
            assert await output(one, "sh", "-c", serial) != await output(two, "sh", "-c", serial)
        await assert_nothing_remains(engine, home)


async def test_writes_go_where_they_were_asked_to_go(image: str, home: Path) -> None:
    async with Engine.open(Settings(home)) as engine:
        on_disk = SandboxRequest(
            image, memory=128 * MIB, disk=512 * MIB, tmpfs=(TmpfsMount("/fast", 8 * MIB),)
        )
        async with engine.sandbox(on_disk) as sandbox:
            written = (
                "dd if=/dev/zero of=/big bs=1M count=256 2>/dev/null && wc -c < /big; df -k /fast | tail -1"
            )
            first, second = (await output(sandbox, "sh", "-c", written)).splitlines()
            assert int(first) == 256 * MIB
            assert second.split()[1] == str(8 * 1024)
        closed = SandboxRequest(image, readonly=True, tmpfs=(TmpfsMount("/not/in/the/image", MIB),))
        async with engine.sandbox(closed) as sandbox:
            assert (
                await output(sandbox, "sh", "-c", "echo x > /not/in/the/image/x; cat /etc/hostname")
                == f"{sandbox.id}\n"
            )
            assert sandbox.id in await output(sandbox, "cat", "/etc/hosts")
            refused = await sandbox.exec(CommandRequest(args=("touch", "/x")))
            assert b"Read-only" in await refused.stderr.read(4096)
            assert (await refused.wait()).code == 1
        await assert_nothing_remains(engine, home)


@pytest.mark.parametrize("stage", STAGES)
async def test_cancelled_at_any_stage_it_leaves_nothing(image: str, home: Path, stage: str) -> None:
    reached = asyncio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, Stage) and event.name == stage:
            reached.set()

    async with Engine.open(Settings(home), listener=listen) as engine:

        async def run() -> None:
            async with engine.sandbox(SandboxRequest(image)):
                await asyncio.Event().wait()

        task = asyncio.create_task(run())
        async with asyncio.timeout(60):
            await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_nothing_remains(engine, home)


async def test_a_guest_that_does_not_answer_in_time_is_ended(image: str, home: Path) -> None:
    boots = Settings(home, plugins={"vmm_qemu": {"templates": False}})
    async with Engine.open(boots) as engine:
        with pytest.raises(MonocoreError) as caught:
            async with engine.sandbox(SandboxRequest(image, boot_timeout=0.05)):
                pytest.fail("it cannot have booted")
        assert caught.value.code in ("deadline-exceeded", "machine")
        await assert_nothing_remains(engine, home)


async def test_the_pull_policy_is_kept(image: str, home: Path, tmp_path: Path) -> None:
    async with Engine.open(Settings(tmp_path / "empty")) as engine:
        never = SandboxRequest(image, pull=PullPolicy.NEVER)
        with pytest.raises(NotFound, match="is not in the store"):
            async with engine.sandbox(never):
                pytest.fail("there is no image")
    async with Engine.open(Settings(home)) as engine:
        pulled = await engine.pull(image, SandboxRequest(image).platform)
        async with engine.sandbox(SandboxRequest(pulled.digest.short)) as sandbox:
            assert sandbox.image.digest == pulled.digest


async def roots_of(engine: Engine, image: Image) -> set[str]:
    """Layer mergers that have the image's root."""
    usable = [
        offer.name
        for offer in engine.survey()
        if offer.interface is Interface.LAYER_MERGER and offer.problem is None
    ]
    return {
        name for name in usable if root_key(image) in await (await engine.backends.layer_merger(name)).keys()
    }


async def test_the_root_of_a_pulled_image_is_there_before_its_first_sandbox(
    image: str, tmp_path: Path
) -> None:
    async with Engine.open(Settings(tmp_path / "home")) as engine:
        pulled = await engine.pull(image, Platform.host())
        assert await roots_of(engine, pulled) == set()
        await engine.assemble(pulled)
        chosen = engine.plan(SandboxRequest(image), pulled).layer_merger
        assert await roots_of(engine, pulled) == {chosen}
        await engine.assemble(pulled)
        assert engine.store.leases() == []


async def test_no_root_is_made_for_another_architecture(tmp_path: Path) -> None:
    other = Platform("linux", "riscv64")
    heard: list[Event] = []
    with LocalRegistry(tmp_path / "registry") as registry:
        reference = registry.push(build_image([[file("a", b"a")]], platform=other), "engine/other")
        async with Engine.open(Settings(tmp_path / "home"), listener=heard.append) as engine:
            pulled = await engine.pull(reference, other)
            await engine.assemble(pulled)
            assert await roots_of(engine, pulled) == set()
    assert [event for event in heard if isinstance(event, Warned)] == []


async def test_a_root_that_cannot_be_made_is_told_and_the_image_stays(image: str, tmp_path: Path) -> None:
    heard: list[Event] = []
    async with Engine.open(Settings(tmp_path / "home"), listener=heard.append) as engine:
        pulled = await engine.pull(image, Platform.host())
        for layer in pulled.layers:
            layer.path.chmod(0o600)
            layer.path.write_bytes(b"\xff" * layer.size)
        await engine.assemble(pulled)
        (warned,) = [event for event in heard if isinstance(event, Warned)]
        assert warned.text.startswith(f"the root of {pulled.digest} could not be made: ")
        assert [one.digest for one in engine.store.images()] == [pulled.digest]
        assert engine.store.leases() == []


@pytest.mark.parametrize(
    ("plugins", "error", "message"),
    [
        (
            {"nowhere": {"a": 1}},
            ConfigError,
            r"\[plugins.nowhere\]: no plugin of that name is installed",
        ),
        ({"vmm_qemu": {"acel": "tcg"}}, ConfigError, "acel: unknown key; did you mean 'accel'"),
    ],
)
async def test_wrong_options_are_refused_at_once(
    tmp_path: Path,
    plugins: dict[str, dict[str, object]],
    error: type[MonocoreError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        async with Engine.open(Settings(tmp_path, plugins=plugins)):
            pytest.fail("the options are wrong")


async def test_a_bad_reference_is_refused_before_anything_else(home: Path) -> None:
    async with Engine.open(Settings(home)) as engine:
        with pytest.raises(InvalidInput, match="lower case"):
            async with engine.sandbox(SandboxRequest("Alpine")):
                pytest.fail("no such name")
        await assert_nothing_remains(engine, home)
