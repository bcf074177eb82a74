"""Sandboxes that are kept: their whole life, for real, and what a daemon that is killed leaves to the next one."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.errors import CommandNotFound, Conflict, NotFound
from monocore_core.logs import LogQuery, Stream
from monocore_core.model.oci import Platform
from monocore_core.model.record import EndReason, SandboxOrder, SandboxRecord, SandboxState
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

pytestmark = pytest.mark.integration
LINES = 3000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime") / "home"


@pytest.fixture(scope="module")
def image(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small Linux, in the store already."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)

    async def pull(reference: str) -> None:
        async with Engine.open(Settings(home)) as engine:
            await engine.pull(reference, Platform.host())

    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        reference = registry.push(busybox_image(), "runtime/busybox")
        asyncio.run(pull(reference))
    return reference


@pytest_asyncio.fixture
async def sandboxes(home: Path) -> AsyncIterator[Sandboxes]:
    async with Sandboxes.open(Settings(home)) as opened:
        yield opened
        for record in opened.all():
            await opened.remove(record.id, force=True)
        engine = await opened.engines.base()
        assert engine.store.leases() == []
        assert list(engine.store.layout.sandboxes.iterdir()) == []
        assert opened.logs.keys() == []


def order(image: str, *args: str, name: str = "", **more: object) -> SandboxOrder:
    request = SandboxRequest(image, name=name, pull=PullPolicy.NEVER)
    command = CommandRequest(args=args) if args else None
    return SandboxOrder(request, command, **more)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def logged(sandboxes: Sandboxes, record: SandboxRecord, stream: Stream = Stream.STDOUT) -> bytes:
    query = LogQuery(streams=frozenset({stream}))
    return b"".join(one.data for one in sandboxes.logs.reader(record.id).records(query))


async def test_a_whole_life(sandboxes: Sandboxes, image: str) -> None:
    record = sandboxes.create(order(image, "sh", "-c", "echo out; echo err >&2; exit 3", name="job"))
    with pytest.raises(Conflict, match="was not started"):
        await sandboxes.wait("job")
    heard: list[tuple[Stream, bytes]] = []

    async def listen(listening: AsyncIterator[tuple[Stream, bytes]]) -> None:
        heard.extend([piece async for piece in listening])

    listeners: list[asyncio.Task[None]] = []
    life = await sandboxes.start(
        "job", attach=lambda life, listening: listeners.append(asyncio.ensure_future(listen(listening)))
    )
    end = await sandboxes.wait("job")
    await asyncio.gather(*listeners)
    assert (end.code, end.reason) == (3, EndReason.EXITED)
    assert sorted(heard) == [(Stream.STDERR, b"err\n"), (Stream.STDOUT, b"out\n")]
    assert logged(sandboxes, record) == b"out\n"
    assert logged(sandboxes, record, Stream.STDERR) == b"err\n"
    await life.over
    assert sandboxes.get("job").state is SandboxState.EXITED

    await sandboxes.start("job")  # again
    assert (await sandboxes.wait("job")).code == 3
    assert logged(sandboxes, record) == b"out\nout\n"
    kinds = [one.kind for one in sandboxes.book.happenings.since(0)]
    assert kinds[:5] == ["created", "started", "exited", "started", "exited"]
    await sandboxes.stop("job")
    await sandboxes.remove("job")
    with pytest.raises(NotFound):
        sandboxes.get("job")


async def test_stopping_killing_and_exec(sandboxes: Sandboxes, image: str) -> None:
    patient = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    one = sandboxes.create(order(image, "sh", "-c", patient, name="patient"))
    two = sandboxes.create(order(image, "sh", "-c", "trap '' TERM; while :; do sleep 1; done", name="deaf"))
    await asyncio.gather(sandboxes.start(one.id), sandboxes.start(two.id))
    with pytest.raises(Conflict, match="running already"):
        await sandboxes.start("patient")
    with pytest.raises(Conflict, match="is running"):
        await sandboxes.remove("patient")
    reader = sandboxes.logs.reader(one.id).follow_lines(LogQuery())
    assert (await anext(reader)).data == b"ready"
    process = await sandboxes.exec("patient", CommandRequest(args=("sh", "-c", "echo $$; exit 4")))
    assert int(await process.stdout.read()) > 1
    assert (await process.wait()).code == 4
    end = await sandboxes.stop("patient")
    assert (end.code, end.reason) == (5, EndReason.KILLED)
    assert (await anext(reader)).data == b"bye"
    assert [line async for line in reader] == []
    assert sandboxes.get("patient").requested
    end = await sandboxes.stop("deaf", grace=0.2)
    assert (end.code, end.reason) == (137, EndReason.KILLED)


@pytest.mark.parametrize("how", ["reboot", "poweroff", "halt"])
async def test_a_guest_that_ends_itself_has_ended(sandboxes: Sandboxes, image: str, how: str) -> None:
    record = sandboxes.create(order(image, "busybox", how, "-f"))
    await sandboxes.start(record.id)
    async with asyncio.timeout(60):
        end = await sandboxes.wait(record.id)
    assert (end.code, end.reason) == (125, EndReason.VMM_FAILED)
    assert "shut down from within" in end.detail


async def test_limits_of_time_and_what_cannot_start(sandboxes: Sandboxes, image: str) -> None:
    timed = sandboxes.create(order(image, "sleep", "1000", timeout=0.5, remove=True))
    life = await sandboxes.start(timed.id)
    end = await sandboxes.wait(timed.id)
    assert (end.code, end.reason) == (124, EndReason.TIMEOUT)
    await life.over
    idle = sandboxes.create(order(image, idle_timeout=0.3))
    await sandboxes.start(idle.id)
    end = await sandboxes.wait(idle.id)
    assert (end.code, end.reason) == (0, EndReason.IDLE)
    bad = sandboxes.create(order(image, "/no/such/program", name="bad"))
    with pytest.raises(CommandNotFound):
        await sandboxes.start("bad")
    found = sandboxes.get(bad.id)
    assert found.end is not None
    assert (found.end.code, found.end.reason) == (127, EndReason.START_FAILED)


KEEPER = """
import asyncio, sys
from pathlib import Path

from monocore_core.config.values import Settings
from monocore_core.model.record import SandboxOrder
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest
from monocore_core.runtime.sandboxes import Sandboxes

async def work(home, image, script):
    async with Sandboxes.open(Settings(Path(home))) as sandboxes:
        if not sandboxes.all():
            for name, words in (("writer", ("sh", "-c", script)), ("rests", ())):
                request = SandboxRequest(image, name=name, pull=PullPolicy.NEVER)
                sandboxes.create(SandboxOrder(request, CommandRequest(args=words) if words else None))
            await asyncio.gather(sandboxes.start("writer"), sandboxes.start("rests"))
        print([record.state.value for record in sandboxes.all()], flush=True)
        await asyncio.sleep(1000)

asyncio.run(work(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_what_runs_outlives_the_daemon_and_its_log_has_no_gap(home: Path, image: str) -> None:
    script = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; [ $((i % 40)) = 0 ] && sleep 0.02; done; exit 9"
    for _ in range(4):  # each takes over what the one before left when it was killed
        keeper = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KEEPER, str(home), image, script, stdout=asyncio.subprocess.PIPE
        )
        assert keeper.stdout is not None
        said = (await keeper.stdout.readline()).decode()
        assert said.endswith(", 'running']\n")
        await asyncio.sleep(0.3)  # somewhere in the middle of its work
        keeper.kill()
        assert await keeper.wait() == -signal.SIGKILL
    async with Sandboxes.open(Settings(home)) as sandboxes:
        end = await sandboxes.wait("writer")
        assert (end.code, end.reason) == (9, EndReason.EXITED), end
        expected = "".join(f"line {number}\n" for number in range(1, LINES + 1)).encode()
        assert logged(sandboxes, sandboxes.get("writer")) == expected
        process = await sandboxes.exec("rests", CommandRequest(args=("hostname",)))
        assert await process.stdout.read() == sandboxes.get("rests").id.encode() + b"\n"
        for name in ("writer", "rests"):
            await sandboxes.remove(name, force=True)
        engine = await sandboxes.engines.base()
        assert engine.store.leases() == []
        assert list(engine.store.layout.sandboxes.iterdir()) == []
