"""Agents that spoil the start of their sandbox: it fails with a sentence, in bounded time, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

import monocore_core.guest.session
from monocore_core.errors import Conflict, DeadlineExceeded, GuestError, MonocoreError
from monocore_core.model.record import EndReason
from tests.integration.malicious.world import REMOVED, World, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]
#: Seconds that an agent may be silent.
SILENCE = 5.0
#: Said of it, or, on a machine with much else to do, of one that takes longer to boot.
SILENT = "did not answer within|no agent within"


async def fails(
    world: World, mode: str, error: type[MonocoreError], says: str, boot_timeout: float = 60
) -> None:
    """The start does, with a sentence that can be shown, and that is written down."""
    before = world.sandboxes.all()
    with pytest.raises(error, match=says) as raised:
        await world.begin(mode, "honest", boot_timeout=boot_timeout)
    assert len(raised.value.brief) < 1000
    assert raised.value.brief.isprintable()
    ends = [record.end for record in world.sandboxes.all() if record not in before]
    assert (EndReason.START_FAILED, raised.value.brief) in [(end.reason, end.detail) for end in ends if end]


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        pytest.param("last id", "no number is left", id="every number of an operation is used"),
        pytest.param("setup refused", "owned", id="60 KB of control characters for a reason"),
    ],
)
async def test_a_start_that_fails(world: World, mode: str, says: str) -> None:
    async with world.bounded():
        await fails(world, mode, GuestError, says)


async def test_starts_that_would_take_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to the hello; none to the set-up; and a port that is opened and closed all the time."""
    async with world.bounded():
        with monkeypatch.context() as patch:
            patch.setattr(monocore_core.guest.session, "REPLY_TIMEOUT", 2.0)
            await asyncio.gather(
                fails(world, "silent", DeadlineExceeded, SILENT, SILENCE),
                fails(world, "setup never", DeadlineExceeded, "did not answer within 2 s"),
                fails(world, "flickers", DeadlineExceeded, SILENT, SILENCE),
            )


async def test_a_start_that_takes_for_ever_is_ended_by_force(world: World) -> None:
    async with world.bounded():
        starting = asyncio.create_task(world.begin("setup never", "honest"))
        await until(lambda: len(world.sandboxes.all()) == 2)
        record = world.sandboxes.all()[-1]
        console = world.home / "sandboxes" / record.id / "console.log"
        await until(console.exists)
        await asyncio.sleep(2)  # it has booted, or is about to
        began = time.monotonic()
        await world.sandboxes.remove(record.id, force=True)
        assert time.monotonic() - began < REMOVED
        with pytest.raises(Conflict, match="while it was being started"):
            await starting


async def test_an_answer_too_many_to_the_set_up(world: World) -> None:
    """It depends on when it comes: to an operation that is over, or not yet."""
    async with world.bounded():
        with contextlib.suppress(GuestError):
            life = await world.begin("setup twice", "honest")
            assert (await world.sandboxes.wait(life.record.id)).code == 0
    end = world.sandboxes.all()[-1].end
    assert end is not None
    assert end.code == 0 or "answered twice" in end.detail
