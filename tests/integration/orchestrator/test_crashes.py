"""A program that has services and is killed at any moment: the next one finds them as they are, and completes what was begun."""

import asyncio
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from monocore_core.config.values import Settings
from monocore_core.errors import Conflict
from monocore_core.model.record import EndReason, SandboxState
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.orchestrator.status import ServiceState
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.testing.processes import alive
from tests.integration.orchestrator.shop import after, happened, instance, service, shop

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROUNDS = 6
_SANDBOX = re.compile(rb"monocore-[0-9a-f]{12}")

KEEPER = """
import asyncio, sys
from pathlib import Path

from monocore_core.config.values import Settings
from monocore_core.model.service import Condition
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.runtime.sandboxes import Sandboxes
from tests.integration.orchestrator.shop import after, again, service, shop
from monocore_core.model.health import RestartKind

def project(image):
    return shop(
        service("job", image, "echo done"),
        service("db", image, restart=again(RestartKind.ON_FAILURE)),
        service("web", image, depends_on=(*after("db"), *after("job", condition=Condition.COMPLETED))),
    )

async def work(home, image, what):
    async with Sandboxes.open(Settings(Path(home))) as sandboxes, Orchestrator.open(sandboxes) as orchestrator:
        print("begun", flush=True)
        if what == "up":
            await orchestrator.up(project(image))
        elif what == "down":
            await orchestrator.down("shop")
        print("done", flush=True)
        await asyncio.sleep(1000)

asyncio.run(work(*sys.argv[1:]))
"""


async def killed(home: Path, image: str, what: str, delay: float | None) -> None:
    """Do something in a program of its own, which is killed so many seconds after it began; None: when it is done."""
    keeper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        KEEPER,
        str(home),
        image,
        what,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert keeper.stdout is not None
    assert await keeper.stdout.readline() == b"begun\n"
    if delay is None:
        assert await keeper.stdout.readline() == b"done\n"
    else:
        await asyncio.sleep(delay)
    keeper.kill()
    await keeper.wait()


def check(orchestrator: Orchestrator, *, up: bool) -> None:
    """The records say what the world is, and that is what was asked for."""
    sandboxes = orchestrator.sandboxes
    states = {one.name: one.state for one in orchestrator.status("shop")[0].services}
    if up:
        assert states == {"job": ServiceState.COMPLETED, "db": ServiceState.UP, "web": ServiceState.UP}
        assert [one.name for one in sandboxes.all() if one.state.live] != []
    else:
        assert not [one.name for one in sandboxes.all() if one.state.live]
    names = [one.name for one in sandboxes.all()]
    assert sorted(set(names)) == sorted(names)
    for record in sandboxes.all():
        assert record.state in (SandboxState.RUNNING, SandboxState.EXITED, SandboxState.CREATED)
        assert alive(record.pid) == (record.state is SandboxState.RUNNING)
    assert orchestrator.status("shop")[0].busy == ""


def machines(home: Path) -> set[int]:
    """VMMs of the home's sandboxes. That of a template, which nobody sees, is none."""
    found = set[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            b"qemu-system" in words[0]
            and any(_SANDBOX.fullmatch(word) for word in words)
            and any(str(home).encode() in word for word in words)
            and alive(int(folder.name))
        ):
            found.add(int(folder.name))
    return found


async def test_killed_at_any_moment_of_up_and_down(home: Path, image: str) -> None:
    chance = random.Random()
    up = False
    for number in range(ROUNDS):
        up = not up
        await killed(home, image, "up" if up else "down", chance.uniform(0.0, 2.5 if up else 1.0))
        if number % 3 == 2:  # and while the next one completes it
            await killed(home, image, "nothing", chance.uniform(0.0, 1.0))
        async with Sandboxes.open(Settings(home)) as sandboxes, Orchestrator.open(sandboxes) as orchestrator:
            if "shop" not in orchestrator.projects():
                assert up, "it was killed before it wrote anything down"
                up = False
                continue
            await orchestrator.settled("shop")
            # killed before it was written down, nothing has changed
            up = any(one.wanted for one in orchestrator.status("shop")[0].services)
            check(orchestrator, up=up)
            running = {one.pid for one in sandboxes.all() if one.state.live}
            assert await asyncio.to_thread(machines, home) == running, (
                "nothing runs twice, and nothing that is not known"
            )
    async with Sandboxes.open(Settings(home)) as sandboxes, Orchestrator.open(sandboxes) as orchestrator:
        if "shop" in orchestrator.projects():
            await orchestrator.remove("shop", force=True)
        assert sandboxes.all() == []
        assert await asyncio.to_thread(machines, home) == set()


async def test_services_outlive_the_program_and_their_ends_are_answered(home: Path, image: str) -> None:
    await killed(home, image, "up", None)
    async with Sandboxes.open(Settings(home)) as sandboxes, Orchestrator.open(sandboxes) as orchestrator:
        check(orchestrator, up=True)
        pids = {name: instance(orchestrator, name).pid for name in ("db", "web")}
        runs = sandboxes.get("shop.db").runs
    assert all(alive(pid) for pid in pids.values())
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)  # while nobody watches
    async with Sandboxes.open(Settings(home)) as sandboxes, Orchestrator.open(sandboxes) as orchestrator:
        await happened(orchestrator, "service-started", "db")
        db, web = (instance(orchestrator, name) for name in ("db", "web"))
        assert (db.restarts, sandboxes.get("shop.db").runs) == (1, runs + 1)
        assert db.pid != pids["db"]
        assert (web.exit_code, web.exit_reason) == (137, EndReason.LOST.value), (
            "its policy is not to be restarted"
        )
        status = await orchestrator.restart("shop", services=["db"])
        assert {one.name: one.state for one in status.services}["db"] is ServiceState.UP
        assert instance(orchestrator, "db").pid != db.pid
        assert instance(orchestrator, "db").id == db.id
        await orchestrator.remove("shop", force=True)


async def test_up_can_be_given_up_at_any_moment(orchestrator: Orchestrator, image: str) -> None:
    project = shop(service("db", image), service("web", image, depends_on=after("db")))
    for delay in (0.0, 0.05, 0.5, 1.5):
        task = asyncio.create_task(orchestrator.up(project))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for record in orchestrator.sandboxes.all():
            assert record.state in (SandboxState.RUNNING, SandboxState.EXITED, SandboxState.CREATED)
            assert alive(record.pid) == (record.state is SandboxState.RUNNING)
    started = time.monotonic()
    last = orchestrator.sandboxes.book.happenings.last
    task = asyncio.create_task(orchestrator.up(project, recreate=True))
    await happened(orchestrator, "service-starting", "db", last)
    await orchestrator.down("shop")
    with pytest.raises(Conflict, match="was taken down meanwhile"):
        await task
    assert time.monotonic() - started < 90
    assert not any(one.state.live for one in orchestrator.sandboxes.all())
