"""One connection to the agent: the handshake, a task that reads, a task that writes, and the operations under way."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final

from monocore_core.errors import DeadlineExceeded, GuestError, MonocoreError
from monocore_core.guest.messages import decode_adopted, decode_exit
from monocore_core.guest.operation import Operation
from monocore_core.guest.streams import ByteStream, Credit
from monocore_core.guest.wire import (
    CHUNK,
    VERSION,
    WINDOW,
    Channel,
    Decoder,
    Frame,
    Hello,
    Kind,
    Welcome,
    encode_frame,
    encode_request,
)
from monocore_core.interfaces.vmm import GuestChannel

#: Seconds within which the agent must answer a request.
REPLY_TIMEOUT: Final = 60.0
_READ: Final = 256 * 1024
#: Bytes waiting to be written above which data (never control) waits.
_OUTBOX: Final = 256 * 1024
#: Bytes waiting to be written above which nothing further is asked of the guest, which takes nothing.
_MAX_QUEUED: Final = 16 * 1024 * 1024
#: Frames that are taken in before others have their turn: a guest may have more to say at any time.
_TURN: Final = 256
#: Seconds that closing waits for what is queued, an acknowledgement perhaps, to be written.
_FLUSH: Final = 1.0
#: Most operations at once; more than the agent allows.
_MAX_OPERATIONS: Final = 4096
_LAST_ID: Final = 0xFFFFFFFF


class Session:
    """Frames of one connection to and from operations. Made by :meth:`open`."""

    def __init__(self, channel: GuestChannel) -> None:
        self._channel = channel
        self.token = secrets.randbelow(0xFFFFFFFF) + 1
        nonce = secrets.token_bytes(16)
        self._hello = Hello(self.token, nonce)
        self._decoder = Decoder(self.token, nonce)
        self._operations: dict[int, Operation] = {}
        self._next_id = 1
        self._first_id = 1
        self._outbox: list[bytes] = []
        self._queued = 0
        self._grants: dict[tuple[int, int], int] = {}  # credit to be given, by operation and channel
        self._wanted = asyncio.Event()
        self._written = asyncio.Event()  # nothing is queued or being written
        self._written.set()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.failure: MonocoreError | None = None
        self.goodbye = asyncio.Event()
        self.welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self.adopted: list[Frame] = []
        self.all_adopted = asyncio.Event()
        self._to_adopt = 0

    @classmethod
    async def open(cls, channel: GuestChannel, limit: float, *, first: bool = False) -> Session:
        """Shake hands.

        Args:
            channel: to the agent.
            limit: seconds.
            first: nobody has left half a frame in it.

        Raises:
            DeadlineExceeded: no answer within ``limit`` seconds.
            GuestError: the agent is gone, or speaks another version or another protocol.
        """
        session = cls(channel)
        try:
            async with asyncio.timeout(limit):
                await session._shake_hands(first=first)
        except TimeoutError as error:
            await session.aclose()
            raise DeadlineExceeded(f"the guest agent did not answer within {limit:g} s") from error
        except BaseException:
            await session.aclose()
            raise
        return session

    async def _shake_hands(self, *, first: bool) -> None:
        await self._channel.write(self._hello.encode(padded=not first))
        self._tasks = [
            asyncio.create_task(self._read(), name="guest-reader"),
            asyncio.create_task(self._write(), name="guest-writer"),
        ]
        await self.welcome
        await self.all_adopted.wait()
        if self.failure is not None:
            raise self.failure

    def operation(self, identity: int | None = None) -> Operation:
        """Register a new operation, or one that an earlier host began.

        Raises:
            GuestError: the connection has failed, too many are under way, or the guest takes nothing.
        """
        if self.failure is not None:
            raise self.failure
        if len(self._operations) >= _MAX_OPERATIONS:
            raise GuestError(f"more than {_MAX_OPERATIONS} operations are under way in the guest")
        if self._queued > _MAX_QUEUED:
            raise GuestError("the guest agent does not take what it was sent before")
        loop = asyncio.get_running_loop()
        if identity is None:
            if self._next_id > _LAST_ID:
                raise GuestError("the guest agent claims that no number is left for another operation")
            identity = self._next_id
            self._next_id += 1
        operation = Operation(identity, loop.create_future(), loop.create_future())
        self._operations[identity] = operation
        return operation

    def operation_of(self, identity: int) -> Operation:
        """One that is registered."""
        return self._operations[identity]

    def forget(self, operation: Operation) -> None:
        """Let the agent free what it keeps for it; frames still under way are ignored, and what somebody still sends is discarded."""
        if operation.credit is not None:
            operation.credit.close()  # no more of it can come: an agent may have left out to say so
        if self._operations.pop(operation.id, None) is not None and self.failure is None:
            self.send(Kind.CLOSE, operation.id)

    def drop(self, operation: Operation) -> None:
        """An operation that ended by its reply: the agent keeps nothing."""
        self._operations.pop(operation.id, None)

    def send(self, kind: Kind, identity: int, payload: bytes = b"", channel: int = 0) -> None:
        """Queue a frame. Data goes through :meth:`send_data`."""
        self._queue(encode_frame(self.token, kind, identity, payload, channel))

    def request(self, kind: Kind, identity: int, body: bytes) -> None:
        """Queue a request of any length.

        Raises:
            InvalidInput: it is longer than the agent accepts.
        """
        self._queue(encode_request(self.token, kind, identity, body))

    async def answer(self, operation: Operation) -> Frame:
        """Wait for the reply.

        Raises:
            MonocoreError: what failed, as the agent says it.
            DeadlineExceeded: it says nothing.
        """
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                return await asyncio.shield(operation.reply)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the guest agent did not answer within {REPLY_TIMEOUT:g} s") from error

    async def send_data(self, identity: int, payload: bytes) -> None:
        """Queue data, waiting while much is queued.

        Raises:
            GuestError: the connection has failed.
        """
        while self._queued > _OUTBOX and self.failure is None:
            self._room.clear()
            await self._room.wait()
        if self.failure is not None:
            raise self.failure
        self.send(Kind.DATA, identity, payload)

    async def send_all(self, operation: Operation, data: bytes) -> bool:
        """Send as credit allows; False when the guest takes no more.

        Raises:
            GuestError: the connection has failed.
        """
        credit = operation.credit
        view = memoryview(data)
        while view and credit is not None:
            taken = await credit.take(min(len(view), CHUNK))
            if not taken:
                return False
            await self.send_data(operation.id, bytes(view[:taken]))
            view = view[taken:]
        return True

    def granter(self, identity: int, channel: Channel, kept_from: int | None = None) -> ByteStream:
        """A stream from the guest that gives credit back as it is read, or, when kept, acknowledged."""

        def grant(amount: int) -> None:
            if identity in self._operations and self.failure is None:
                self._grant((identity, channel), amount)

        return ByteStream(grant, kept_from=kept_from)

    async def aclose(self) -> None:
        """Close the connection, once what was queued is written if that is soon; whoever waits gets GuestError."""
        if self.failure is None and self._tasks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH):
                    await self._written.wait()
        self.fail(GuestError("the connection to the guest agent was closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(MonocoreError, OSError):
            await self._channel.aclose()

    def fail(self, error: MonocoreError) -> None:
        """The connection is of no more use."""
        if self.failure is not None:
            return
        self.failure = error
        if not self.welcome.done():
            self.welcome.set_exception(error)
            self.welcome.exception()
        for operation in self._operations.values():
            operation.fail(error)
        self._operations.clear()
        self._grants.clear()
        self.goodbye.set()
        self.all_adopted.set()
        self._room.set()
        self._wanted.set()
        self._written.set()

    def _queue(self, data: bytes) -> None:
        if self.failure is None:
            self._written.clear()
            self._outbox.append(data)
            self._queued += len(data)
            self._wanted.set()

    def _grant(self, stream: tuple[int, int], amount: int) -> None:
        """Give credit as soon as the guest takes it. One that sends on without having been given any is not waited for."""
        waiting = self._grants.get(stream, 0) + amount
        if waiting > WINDOW:
            self.fail(GuestError("the guest agent broke the protocol: it sent more than it was allowed"))
            return
        self._grants[stream] = waiting
        self._written.clear()
        self._wanted.set()

    def _credit_frames(self) -> list[bytes]:
        grants, self._grants = self._grants, {}
        return [
            encode_frame(self.token, Kind.CREDIT, identity, amount.to_bytes(4, "little"), channel)
            for (identity, channel), amount in grants.items()
            if identity in self._operations
        ]

    async def _write(self) -> None:
        try:
            while self.failure is None:
                await self._wanted.wait()
                self._wanted.clear()
                batch, self._outbox = self._outbox, []
                self._queued = 0
                self._room.set()
                await self._channel.write(*batch, *self._credit_frames())
                if not self._outbox and not self._grants:
                    self._written.set()
        except (MonocoreError, OSError) as error:
            self.fail(_gone(error))

    async def _read(self) -> None:
        try:
            while self.failure is None and (data := await self._channel.read(_READ)):
                for count, item in enumerate(self._decoder.feed(data), 1):
                    if isinstance(item, Welcome):
                        self._welcomed(item)
                    else:
                        self._received(item)
                    if count % _TURN == 0:
                        await asyncio.sleep(0)
                await asyncio.sleep(0)  # a channel that always has something does not wait by itself
            self.fail(GuestError("the guest agent is gone: its channel was closed"))
        except (MonocoreError, OSError) as error:
            self.fail(_gone(error))

    def _welcomed(self, welcome: Welcome) -> None:
        if welcome.version != VERSION:
            raise GuestError(
                f"the guest agent speaks version {welcome.version} of the guest protocol, this program speaks"
                f" version {VERSION}",
                hint="the sandbox was started by another version of monocore: end it and start it again",
            )
        self._first_id = self._next_id = max(1, welcome.next_id)
        self._to_adopt = welcome.processes
        if welcome.processes > _MAX_OPERATIONS:
            raise GuestError(f"the guest agent claims to run {welcome.processes} processes")
        if not welcome.processes:
            self.all_adopted.set()
        self.welcome.set_result(welcome)

    def _received(self, frame: Frame) -> None:
        if frame.kind == Kind.ADOPTED:
            self._adopt(frame)
        elif frame.kind == Kind.GOODBYE:
            self.goodbye.set()
        elif operation := self._operations.get(frame.id):
            self._dispatch(operation, frame)
        elif not 0 < frame.id < self._next_id:
            raise GuestError(f"the guest agent broke the protocol: operation {frame.id} was never begun")

    def _adopt(self, frame: Frame) -> None:
        if len(self.adopted) >= self._to_adopt or not 0 < frame.id < self._first_id:
            raise GuestError("the guest agent broke the protocol: it reports a process that it did not count")
        if frame.id in self._operations:
            raise GuestError("the guest agent broke the protocol: it reports a process twice")
        self.adopted.append(frame)
        operation = self.operation(frame.id)
        adopted = decode_adopted(frame.payload)
        operation.label, operation.kept = adopted.label, adopted.offsets is not None
        operation.terminal = adopted.terminal
        for channel in (Channel.OUT, Channel.ERR):
            kept_from = adopted.offsets[channel - 1] if adopted.offsets else None
            operation.outputs[channel] = self.granter(frame.id, channel, kept_from)
            if not adopted.channels & 1 << channel:
                operation.outputs[channel].end()
        operation.credit = Credit(adopted.credit)
        if not adopted.channels & 1 << Channel.IN:
            operation.credit.close()
        if len(self.adopted) == self._to_adopt:
            self.all_adopted.set()

    def _dispatch(self, operation: Operation, frame: Frame) -> None:
        match frame.kind:
            case Kind.END if frame.channel == Channel.IN:
                if operation.credit is not None:
                    operation.credit.close()
            case Kind.DATA:
                operation.output(frame.channel).feed(frame.payload)
            case Kind.END:
                operation.output(frame.channel).end()
            case Kind.CREDIT:
                if operation.credit is None or len(frame.payload) != 4:
                    raise GuestError("the guest agent broke the protocol: credit for no stream")
                operation.credit.give(int.from_bytes(frame.payload, "little"))
            case Kind.DONE | Kind.STARTED | Kind.FAILED:
                operation.settle(frame)
            case Kind.EXITED:
                if not operation.exit.done():
                    operation.exit.set_result(decode_exit(frame.payload))
            case _:
                raise GuestError(f"the guest agent broke the protocol: it sent a frame of kind {frame.kind}")


def _gone(error: Exception) -> MonocoreError:
    if isinstance(error, MonocoreError):
        return error
    failure = GuestError(f"the connection to the guest agent broke: {error}")
    failure.__cause__ = error
    return failure
