"""Agents that break the protocol: the session ends with a sentence, whichever byte was wrong, and the next one is as good as new.

One machine serves them all, each case in sessions of its own, as daemons that come back would have them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import monocore_core.guest.session
from monocore_core.errors import DeadlineExceeded, GuestError, MonocoreError
from monocore_core.guest.client import Guest
from monocore_core.guest.process import GuestProcess
from monocore_core.model.guest import ProcessSpec
from monocore_core.runtime.life import Life
from tests.integration.malicious.world import World, session

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]
BROKE = "the guest agent broke the protocol"
#: Seconds for what takes a moment, on a machine with much else to do.
SOON = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def attacker(opened: World) -> AsyncIterator[Life]:
    """A sandbox without a command, whose agent does what its sessions ask for."""
    life = await opened.begin("honest")
    yield life
    await opened.clear()


async def run(guest: Guest, word: str) -> GuestProcess:
    return await guest.spawn(ProcessSpec(argv=(word,)))


async def honest(life: Life) -> None:
    """A new session is as if nothing had been."""
    async with asyncio.timeout(SOON), session(life) as guest:
        process = await run(guest, "honest")
        assert await process.stdout.read() == b"well\n"
        assert (await process.wait()).code == 0


async def next_hello(life: Life, how: str) -> None:
    async with session(life) as guest:
        await (await run(guest, f"hello:{how}")).wait()


async def failure(guest: Guest, process: GuestProcess) -> MonocoreError:
    """What the session ends with, told to everyone who waits."""
    async with asyncio.timeout(SOON):
        with pytest.raises(GuestError) as raised:
            await process.wait()
        with pytest.raises(GuestError):
            await process.signal(9)
        with pytest.raises(GuestError):
            await guest.stats()
    return raised.value


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("noise", "without end"),
        ("other version", "speaks version 77"),
        ("countless", "claims to run 4294967295 processes"),
        ("adopted id 0", "did not count"),
        ("adopted id of the future", "did not count"),
        ("adopted uncounted", "did not count"),
        ("adopted garbage", BROKE),
        ("adopted cut off", BROKE),
        ("adopted credit", "malformed"),
        ("adopted offset", "malformed"),
        ("adopted label", "malformed"),
        ("adopted twice", "twice"),
    ],
)
async def test_a_handshake_that_lies(opened: World, attacker: Life, how: str, says: str) -> None:
    async with opened.bounded():
        await next_hello(attacker, how)
        with pytest.raises(GuestError, match=says):
            async with asyncio.timeout(SOON), session(attacker) as guest:
                await guest.stats()
        await honest(attacker)


@pytest.mark.parametrize("how", ["silent", "three and none"])
async def test_a_handshake_that_does_not_end(opened: World, attacker: Life, how: str) -> None:
    async with opened.bounded():
        await next_hello(attacker, how)
        with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.5 s"):
            async with session(attacker, timeout=0.5):
                pass
        await honest(attacker)


async def test_processes_of_earlier_that_could_not_be_run(opened: World, attacker: Life) -> None:
    async with opened.bounded():
        await next_hello(attacker, "adopted and refused")
        async with session(attacker) as guest:
            assert sorted(guest.adopted) == [1, 2]
            for process in guest.adopted.values():
                with pytest.raises(MonocoreError, match=r"it was never there|nor was this"):
                    await process.wait()
            guest.adopted.clear()
        await honest(attacker)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("started twice", "answered twice"),
        ("refused after", "answered twice"),
        ("stranger", "was never begun"),
        ("id 0", "was never begun"),
        ("overdraft", "more than it was allowed"),
        ("overdraft of errors", "more than it was allowed"),
        ("no such channel", "data for no stream"),
        ("input as output", "data for no stream"),
        ("after the end", "more than it was allowed"),
        ("exit huge", "exit code 9223372036854775807"),
        ("exit negative", "exit code -1"),
        ("exit signal", "signal -9223372036854775808"),
        ("exit garbage", BROKE),
        ("exit empty", "exit code -1"),
        ("credit", "too much credit"),
        ("credit short", "credit for no stream"),
        ("trailer", "not of this session"),
        ("kind", "a frame of kind 99"),
        ("kind of the host", "a frame of kind 17"),
        ("adopted late", "did not count"),
    ],
)
async def test_a_frame_that_cannot_be(opened: World, attacker: Life, word: str, says: str) -> None:
    async with opened.bounded():
        async with session(attacker) as guest:
            error = await failure(guest, await run(guest, word))
        assert says in error.brief
        await honest(attacker)


async def test_what_is_no_answer(opened: World, attacker: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monocore_core.guest.session, "REPLY_TIMEOUT", 1.0)
    async with opened.bounded():
        async with session(attacker) as guest:
            with pytest.raises(DeadlineExceeded, match="did not answer within 1 s"):
                await run(guest, "never started")
            process = await run(guest, "started as garbage")  # nobody needs what is in it
            assert await process.stdout.read() == b"well\n"
        await honest(attacker)


@pytest.mark.parametrize("word", ["crumbs", "nothing", "of the past", "goodbyes"])
async def test_small_frames_without_end(opened: World, attacker: Life, word: str) -> None:
    """Of a guest that takes nothing meanwhile: nobody else has to wait, and whoever has enough of it closes the session."""
    async with opened.bounded():
        async with session(attacker) as guest:
            process = await run(guest, word)
            reading = asyncio.create_task(drain(process))
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                await opened.well()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await quiet(attacker)


async def quiet(life: Life) -> None:
    """Wait until a storm is over: what is left of it comes before the next welcome."""
    async with asyncio.timeout(SOON):
        while True:
            with contextlib.suppress(GuestError):
                await honest(life)
                return


async def drain(process: GuestProcess) -> None:
    while await process.stdout.read():
        pass
