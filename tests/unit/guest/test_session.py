"""A session with an agent that is made up: what it may take of the host, however it goes about it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping

import pytest

from monocore_core.errors import GuestError, NotFound
from monocore_core.guest.client import Guest
from monocore_core.guest.session import Session
from monocore_core.guest.streams import ByteStream
from monocore_core.guest.wire import (
    PADDING,
    VERSION,
    WELCOME_MAGIC,
    WINDOW,
    Channel,
    Kind,
    encode_frame,
    put,
)
from monocore_core.model.guest import ProcessSpec


class Agent:
    """A channel, and the agent at its other end, in a few words.

    Args:
        next_id: of its welcome.
        processes: of its welcome.
    """

    def __init__(self, *, next_id: int = 1, processes: int = 0) -> None:
        self._next_id, self._processes = next_id, processes
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._heard = b""
        self.taking = asyncio.Event()
        self.taking.set()
        self.met = asyncio.Event()
        self.token = 0

    async def read(self, limit: int) -> bytes:
        del limit
        return await self._said.get()

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        await self.taking.wait()
        self._heard += b"".join(chunks)
        if not self.token and len(self._heard) >= PADDING + 40:
            hello = self._heard[PADDING:]
            self.token = int.from_bytes(hello[20:24], "little")
            numbers = (VERSION, 2), (0, 2), (self._next_id, 4), (self._processes, 4), (1, 8), (2, 8)
            words = b"".join(value.to_bytes(size, "little") for value, size in numbers)
            self.say(WELCOME_MAGIC + hello[24:40] + words)
            self.met.set()

    async def aclose(self) -> None:
        """Nothing is open."""

    @property
    def heard(self) -> bytes:
        """What the host has said since it was asked last."""
        found, self._heard = self._heard, b""
        return found

    def say(self, words: bytes) -> None:
        self._said.put_nowait(words)

    def frame(self, kind: Kind, identity: int, payload: bytes = b"", channel: int = 0) -> bytes:
        return encode_frame(self.token, kind, identity, payload, channel)


async def opened(agent: Agent) -> tuple[Session, ByteStream]:
    """A session, and the output of its first operation."""
    session = await Session.open(agent, 5)
    operation = session.operation()
    stream = operation.outputs[Channel.OUT] = session.granter(operation.id, Channel.OUT)
    return session, stream


async def test_numbers_of_operations_end() -> None:
    agent = Agent(next_id=0xFFFFFFFF)
    session = await Session.open(agent, 5)
    assert session.operation().id == 0xFFFFFFFF
    with pytest.raises(GuestError, match="no number is left"):
        session.operation()
    await session.aclose()


async def test_credit_is_given_together_and_never_more_than_can_have_been_used() -> None:
    """A guest that sends byte by byte, and takes nothing, costs a number and no frame for each."""
    agent = Agent()
    session, _ = await opened(agent)
    operation = session.operation()
    stream = operation.outputs[Channel.OUT] = session.granter(operation.id, Channel.OUT, kept_from=0)
    session.send(Kind.SIGNAL, operation.id)
    agent.taking.clear()
    await asyncio.sleep(0)
    for count in range(1, 1001):
        agent.say(agent.frame(Kind.DATA, operation.id, b"x", Channel.OUT))
        assert await stream.read() == b"x"
        stream.acknowledge(count)
    agent.heard  # noqa: B018 - what was said before
    agent.taking.set()
    await asyncio.sleep(0.01)
    heard = agent.heard
    granted = (1000).to_bytes(4, "little")
    assert heard.endswith(agent.frame(Kind.CREDIT, operation.id, granted, Channel.OUT))
    assert heard.count(agent.token.to_bytes(4, "little")) < 5
    await session.aclose()


async def test_credit_that_was_not_given_is_not_used() -> None:
    agent = Agent()
    session, _ = await opened(agent)
    operation = session.operation()
    stream = operation.outputs[Channel.OUT] = session.granter(operation.id, Channel.OUT)
    session.send(Kind.SIGNAL, operation.id)
    agent.taking.clear()
    taken = 0
    for _ in range(20):
        agent.say(agent.frame(Kind.DATA, operation.id, bytes(60000), Channel.OUT))
        await asyncio.sleep(0.001)
        if session.failure is not None:
            break
        taken += len(await stream.read())
    assert isinstance(session.failure, GuestError)
    assert "more than it was allowed" in session.failure.brief
    assert WINDOW < taken <= 2 * WINDOW + 60000
    agent.taking.set()
    await session.aclose()


async def test_others_have_their_turn_while_a_guest_talks_without_end() -> None:
    agent = Agent()
    session, _ = await opened(agent)
    words = agent.frame(Kind.DATA, 1, b"", Channel.OUT) * 5000
    turns = 0

    async def read(limit: int) -> bytes:
        del limit
        return words if turns < 100 else b""

    agent.read = read  # type: ignore[method-assign]
    agent.say(words)
    while session.failure is None:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 100
    await session.aclose()


async def test_a_guest_that_takes_nothing_is_asked_nothing_further() -> None:
    agent = Agent()
    session, _ = await opened(agent)
    agent.taking.clear()
    for _ in range(4):
        session.request(Kind.SPAWN, session.operation().id, bytes(4 * 1024 * 1024))
    with pytest.raises(GuestError, match="does not take"):
        session.operation()
    agent.taking.set()
    await session.aclose()


async def test_pieces_of_single_bytes_are_read_together() -> None:
    agent = Agent()
    session, stream = await opened(agent)
    agent.say(
        agent.frame(Kind.DATA, 1, b"x", Channel.OUT) * 10000 + agent.frame(Kind.END, 1, b"", Channel.OUT)
    )
    async with asyncio.timeout(60):
        await stream.arrived()
    assert len(await stream.read()) == 4096
    assert len(await stream.read(100)) == 100
    assert len(await stream.read()) == 4096
    await session.aclose()


async def test_a_process_of_earlier_that_could_not_be_run_is_no_error_of_ours() -> None:
    problems: list[Mapping[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    agent = Agent(next_id=10, processes=1)
    opening = asyncio.create_task(Guest.open(agent, timeout=5))
    await agent.met.wait()
    agent.say(agent.frame(Kind.ADOPTED, 1, put(1, 2) + put(2, 0) + put(3, 7)))
    guest = await opening
    agent.say(agent.frame(Kind.FAILED, 1, put(1, 7) + put(2, "no such program")))
    with pytest.raises(NotFound, match="no such program"):
        await guest.adopted[1].wait()
    await asyncio.sleep(0.01)
    await guest.aclose()
    del guest, opening
    gc.collect()
    await asyncio.sleep(0)
    assert problems == []


async def test_a_process_is_reported_once() -> None:
    agent = Agent(next_id=10, processes=2)
    opening = asyncio.create_task(Guest.open(agent, timeout=5))
    await agent.met.wait()
    agent.say(agent.frame(Kind.ADOPTED, 1) * 2)
    with pytest.raises(GuestError, match="twice"):
        await opening


async def test_who_writes_to_a_process_that_has_ended_does_not_wait_for_ever() -> None:
    agent = Agent()
    guest = await Guest.open(agent, timeout=5)
    spawning = asyncio.create_task(guest.spawn(ProcessSpec(argv=("x",), stdin=True)))
    await asyncio.sleep(0)
    agent.say(agent.frame(Kind.STARTED, 1))
    process = await spawning
    writing = asyncio.create_task(process.write_stdin(bytes(WINDOW + 1)))
    ends = (agent.frame(Kind.END, 1, b"", channel) for channel in (Channel.OUT, Channel.ERR))
    agent.say(b"".join((*ends, agent.frame(Kind.EXITED, 1, put(1, 0)))))  # and not a word about its input
    async with asyncio.timeout(60):
        await writing
        assert (await process.wait()).code == 0
    await guest.aclose()
