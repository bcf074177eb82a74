"""Sandboxes written to disk, for real: each goes on where it was, as often as one likes, and its randomness is another each time."""

import asyncio
import os
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.config.values import Settings
from monocore_core.errors import Conflict, Corrupt, NotFound, Unsupported
from monocore_core.model.record import EndReason, SandboxOrder, SandboxState
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.runtime.checkpoints import checkpoint, start_from
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.store.checkpoints import MACHINE
from monocore_core.store.facade import SCRATCH_NAME
from tests.integration.test_runtime import home, image, order, sandboxes
from tests.integration.test_runtime_fork import PROGRAM, line_of, told

__all__ = ["home", "image", "sandboxes"]
pytestmark = pytest.mark.integration


async def test_it_goes_on_where_it_was_as_often_as_one_likes(home: Path, image: str) -> None:
    request = SandboxRequest(image, name="one", memory=128 * MIB, pull=PullPolicy.NEVER, disk=32 * MIB)
    command = CommandRequest(args=("sh", "-c", PROGRAM), stdin=True)
    async with Sandboxes.open(Settings(home)) as before:
        record = before.create(SandboxOrder(request, command))
        first = await before.start(record.id)
        data = (await line_of(before, record, 0))[1]
        machine_id = (await told(before, first, "early"))[3]
        made = await checkpoint(before, "one", "here", leave_running=False)
        assert made.size > 4 * MIB
        ended = before.get("one")
        assert ended.state is SandboxState.EXITED
        assert ended.end is not None
        assert ended.end.reason is EndReason.KILLED
        # as if nothing had been: once again from its beginning
        again = await before.start("one")
        assert (await line_of(before, again.record, 2))[1] != data
        await before.stop("one", 0)
    drawn: list[str] = []
    for word in ("second", "third"):
        async with Sandboxes.open(Settings(home)) as later:  # the daemon was replaced meanwhile
            life = await start_from(later, "one", "here")
            heard = await told(later, life, word)
            assert heard[:4] == [data, record.id, record.id, machine_id]
            drawn.append(heard[4])
        async with Sandboxes.open(
            Settings(home)
        ) as later:  # and once more: it is found by what its guest calls it
            life = later.life("one")
            assert (await told(later, life, "found"))[0] == data
            if word == "third":
                await life.process.signal(9) if life.process is not None else None
                assert (await later.wait("one")).code == 137
            await later.stop("one", 0)
    assert len(set(drawn)) == 2
    async with Sandboxes.open(Settings(home)) as later:
        kept = (await later.engines.base()).store.checkpoints
        disk = kept.path(record.id, "here") / SCRATCH_NAME
        os.truncate(disk, 100_000)
        with pytest.raises(Corrupt, match="100000 bytes, and not the 33554432"):
            await start_from(later, "one", "here")
        assert [one.name for one in kept.all(record.id)] == ["here"]
        await later.remove("one")
        assert kept.all(record.id) == []
        assert list(kept.layout.temporaries.iterdir()) == []


async def test_one_that_is_left_running_runs_on(sandboxes: Sandboxes, image: str) -> None:
    sandboxes.create(order(image, "sh", "-c", "while :; do echo on; sleep 0.1; done", name="on"))
    life = await sandboxes.start("on")
    await line_of(sandboxes, life.record, 1)
    await checkpoint(sandboxes, "on", "a", leave_running=True)
    assert sandboxes.get("on").state is SandboxState.RUNNING
    with pytest.raises(Conflict, match="running already"):
        await start_from(sandboxes, "on", "a")
    with pytest.raises(Conflict, match="a already"):
        await checkpoint(sandboxes, "on", "a", leave_running=True)
    await life.pause()
    with pytest.raises(Conflict, match="is paused"):
        await checkpoint(sandboxes, "on", "b", leave_running=True)
    await life.resume()
    await sandboxes.stop("on", 0)
    with pytest.raises(Conflict, match="not running"):
        await checkpoint(sandboxes, "on", "b", leave_running=True)


async def test_what_does_not_fit_is_refused_and_the_sandbox_can_still_be_started(
    sandboxes: Sandboxes, image: str
) -> None:
    record = sandboxes.create(order(image, "sleep", "1000", name="refused"))
    await sandboxes.start("refused")
    await checkpoint(sandboxes, "refused", "a", leave_running=False)
    with pytest.raises(NotFound, match="no checkpoint b"):
        await start_from(sandboxes, "refused", "b")
    asked = sandboxes.get("refused").order
    sandboxes.reorder("refused", evolve(asked, sandbox=evolve(asked.sandbox, memory=384 * MIB)))
    with pytest.raises(Unsupported, match="memory or disks are not what they were"):
        await start_from(sandboxes, "refused", "a")
    sandboxes.reorder("refused", asked)
    machine = (await sandboxes.engines.base()).store.checkpoints.path(record.id, "a") / MACHINE
    content = bytearray(machine.read_bytes())
    content[-5000] ^= 1
    machine.write_bytes(content)
    with pytest.raises(Corrupt, match="not what was written"):
        await start_from(sandboxes, "refused", "a")
    assert sandboxes.get("refused").state is SandboxState.EXITED
    await sandboxes.start("refused")
    async with asyncio.timeout(30):
        await sandboxes.stop("refused", 0)


async def test_one_that_goes_with_its_end_has_none(sandboxes: Sandboxes, image: str) -> None:
    sandboxes.create(order(image, "sleep", "1000", name="brief", remove=True))
    await sandboxes.start("brief")
    with pytest.raises(Conflict, match="is removed when it ends"):
        await checkpoint(sandboxes, "brief", "a", leave_running=True)
    await sandboxes.stop("brief", 0)
