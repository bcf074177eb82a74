"""The host's side of the guest agent: set a guest up, run processes in it, move files, ask for figures.

Lifecycle: :meth:`Guest.open` on a channel of the VMM, one :meth:`Guest.setup`, any number of operations at once, and
:meth:`Guest.shutdown`. The agent survives the loss of a connection (unless it was set up as tied to it): a new
``Guest.open`` finds its processes in :attr:`Guest.adopted`.

Worked example::

    guest = await Guest.open(await machine.connect(), timeout=30)
    await guest.setup(setup)
    process = await guest.spawn(ProcessSpec(argv=("cat",), stdin=True))
    await process.write_stdin(b"hello")
    await process.close_stdin()
    assert await process.stdout.read() == b"hello"
    assert (await process.wait()).code == 0
    await guest.shutdown(grace=5)
    await guest.aclose()
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from monocore_core.errors import DeadlineExceeded, MonocoreError
from monocore_core.guest.connections import GuestStream, encode_dial, encode_dial_socket
from monocore_core.guest.files import GuestFiles
from monocore_core.guest.messages import decode_stats, encode_renewal, encode_setup, encode_spawn
from monocore_core.guest.operation import Operation
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.session import Session
from monocore_core.guest.streams import Credit
from monocore_core.guest.wire import Channel, Frame, Kind, put
from monocore_core.interfaces.vmm import GuestChannel
from monocore_core.model.guest import (
    GuestRenewal,
    GuestSetup,
    GuestStats,
    ProcessSpec,
)

#: Bytes of what a rehearsal's program says.
_WORDS: Final = 4096
#: Seconds beyond the grace that a shutdown may take.
_SHUTDOWN_EXTRA: Final = 15.0


class Guest:
    """A connection to the agent in one guest.

    Attributes:
        adopted: processes that earlier connections began, by their numbers, those that ended unseen included.
        files: the sandbox's files.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._releases: set[asyncio.Task[None]] = set()
        self.adopted: dict[int, GuestProcess] = {}
        self.files = GuestFiles(session)

    @classmethod
    async def open(
        cls,
        channel: GuestChannel,
        *,
        timeout: float,  # noqa: ASYNC109 - the channel is closed too
        first: bool = False,
    ) -> Guest:
        """Shake hands with the agent.

        Args:
            channel: closed by :meth:`aclose`, and when this fails.
            timeout: seconds.
            first: nobody has left half a frame in the channel, which saves the agent some work: its machine has just been started.

        Raises:
            DeadlineExceeded: it did not answer in time.
            GuestError: it is gone, or speaks another version.
        """
        session = await Session.open(channel, timeout, first=first)
        guest = cls(session)
        for frame in session.adopted:
            guest.adopted[frame.id] = guest._process(session.operation_of(frame.id))
        return guest

    @property
    def listening_ns(self) -> int:
        """Nanoseconds from the guest's boot until its agent listened."""
        return self._session.welcome.result().listening_ns

    @property
    def started_ns(self) -> int:
        """Nanoseconds from the guest's boot until its agent's first instruction."""
        return self._session.welcome.result().started_ns

    @property
    def ready(self) -> bool:
        """Whether an earlier host set the guest up."""
        return self._session.welcome.result().ready

    async def setup(self, setup: GuestSetup) -> None:
        """Make the guest into a sandbox. Once; it may be gathered with the first :meth:`spawn`, to save a round trip.

        Raises:
            GuestError: with what failed: a disk that is not there, a mount that the kernel refused.
        """
        await self._call(Kind.SETUP, encode_setup(setup))

    @property
    def held(self) -> bool:
        """Whether its processes stood still when we connected: an earlier host held them, or it is a copy."""
        return self._session.welcome.result().held

    async def hold(self) -> None:
        """Have every process but the agent stand still, without their noticing, until :meth:`release`. A repeat does nothing.

        Raises:
            GuestError: one does not, or the guest's kernel has no way; then none is held.
        """
        await self._call(Kind.HOLD, b"")

    async def release(self, renewal: GuestRenewal) -> None:
        """Make the guest what the renewal says, and then let its processes go on, if the renewal does not hold them.

        Raises:
            GuestError: with what failed; then they are still held.
        """
        await self._call(Kind.RELEASE, encode_renewal(renewal))

    async def warm(self, spec: ProcessSpec) -> None:
        """Have a guest that is set up read what a process would read to begin. Nothing of it is run, and what cannot be read is not missed.

        Raises:
            GuestError: the guest is no copy of a template, or is gone.
        """
        await self._call(Kind.REHEARSE, encode_spawn(spec))

    async def stand_by(self) -> None:
        """Have a guest that is set up fork the process that will run what :meth:`spawn` asks for first, if that wants no terminal. A repeat does nothing.

        Raises:
            GuestError: it could not be made, or the guest is gone.
        """
        await self._call(Kind.REHEARSE, b"")

    async def rehearse(self) -> None:
        """Have a copy of a template do once, for nothing, what :meth:`setup` and :meth:`spawn` will have it do; the next time is quicker.

        Raises:
            GuestError: it is none, or is set up already, or something failed.
        """
        await self._call(Kind.REHEARSE, b"")
        process = await self.spawn(ProcessSpec(argv=("/init",)))
        while await process.stderr.read(_WORDS):  # it says that it is to be PID 1
            pass
        await process.wait()

    async def spawn(self, spec: ProcessSpec) -> GuestProcess:
        """Start a process; returns when its program runs.

        Raises:
            CommandNotFound: the program, or its interpreter, does not exist.
            CommandNotExecutable: it exists and cannot be run.
            GuestError: something else refused: the user is unknown, the guest has no memory.
        """
        body = encode_spawn(spec)
        operation = self._session.operation()
        operation.label, operation.kept = spec.label, spec.keep
        operation.terminal = spec.terminal is not None
        for channel in (Channel.OUT, Channel.ERR):
            kept_from = 0 if spec.keep else None
            operation.outputs[channel] = self._session.granter(operation.id, channel, kept_from)
        if spec.terminal is not None:
            operation.outputs[Channel.ERR].end()
        operation.credit = Credit()
        await self._reply(operation, Kind.SPAWN, body)
        return self._process(operation)

    async def dial(self, port: int, address: str = "127.0.0.1", *, timeout: float = 10.0) -> GuestStream:  # noqa: ASYNC109 - the guest's
        """Connect from inside the guest to a TCP port there, or to whatever its network reaches.

        Args:
            port: 1 to 65535.
            address: IPv4 or IPv6, not a name.
            timeout: seconds for the connection to be made.

        Raises:
            Unreachable: refused, or no route.
            DeadlineExceeded: no answer in time.
            GuestError: the guest is not set up, or has no memory.
        """
        return await self._dial(encode_dial(port, address, timeout))

    async def dial_socket(self, path: str, *, timeout: float = 10.0) -> GuestStream:  # noqa: ASYNC109 - the guest's
        """Connect from inside the guest to a Unix socket of the sandbox.

        Raises:
            NotFound: there is no such path.
            Unreachable: nobody listens.
            GuestError: as :meth:`dial`.
        """
        return await self._dial(encode_dial_socket(path, timeout))

    async def _dial(self, body: bytes) -> GuestStream:
        operation = self._session.operation()
        operation.outputs[Channel.OUT] = self._session.granter(operation.id, Channel.OUT)
        operation.credit = Credit()
        await self._reply(operation, Kind.DIAL, body)
        return GuestStream(self._session, operation)

    async def read_archive(self, path: str) -> AsyncGenerator[bytes]:
        """A tar stream of a file or folder of the sandbox; names begin with the last part of ``path``.

        Raises:
            NotFound: there is no such path.
            GuestError: it could not be read.
        """
        async with aclosing(self._stream(Kind.READ_ARCHIVE, put(1, path))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def read_changes(self) -> AsyncGenerator[bytes]:
        """The tar of a layer (image-spec ``layer.md``): what the sandbox has changed of its image. It runs on meanwhile.

        Raises:
            GuestError: it has no writable layer over its image, or something in it is what no layer can hold.
        """
        async with aclosing(self._stream(Kind.READ_CHANGES, b"")) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stream(self, kind: Kind, body: bytes) -> AsyncGenerator[bytes]:
        operation = self._session.operation()
        stream = operation.outputs[Channel.OUT] = self._session.granter(operation.id, Channel.OUT)
        try:
            self._session.request(kind, operation.id, body)
            while chunk := await stream.read():
                yield chunk
            await self._session.answer(operation)
        finally:
            self._session.forget(operation)

    async def write_archive(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpack a tar stream into a folder of the sandbox, which is made when it does not exist.

        Raises:
            GuestError: the archive is malformed, or could not be written.
        """
        operation = self._session.operation()
        operation.credit = Credit()
        try:
            self._session.request(Kind.WRITE_ARCHIVE, operation.id, put(1, path))
            async for chunk in chunks:
                if not await self._session.send_all(operation, chunk):
                    break
            self._session.send(Kind.END, operation.id)
            await self._session.answer(operation)
        finally:
            self._session.forget(operation)

    async def stats(self) -> GuestStats:
        """Present resource use."""
        return decode_stats((await self._call(Kind.STATS, b"")).payload)

    async def set_time(self, time_ns: int) -> None:
        """Set the guest's wall clock, nanoseconds since the epoch."""
        await self._call(Kind.SET_TIME, put(1, time_ns))

    async def shutdown(self, grace: float) -> None:
        """End every process (SIGTERM, after ``grace`` seconds SIGKILL), write everything to the disks, and end the machine.

        Returns when the agent said goodbye, or its channel was closed. A repeat only waits.

        Raises:
            DeadlineExceeded: it did neither.
        """
        if self._session.failure is None:
            self._session.send(Kind.SHUTDOWN, 0, put(1, max(0, int(grace * 1000))))
        try:
            async with asyncio.timeout(grace + _SHUTDOWN_EXTRA):
                await self._session.goodbye.wait()
        except TimeoutError as error:
            raise DeadlineExceeded("the guest did not shut down in time") from error

    async def aclose(self) -> None:
        """Close the connection. A repeat does nothing."""
        for task in self._releases:
            task.cancel()
        await self._session.aclose()

    async def _call(self, kind: Kind, body: bytes) -> Frame:
        operation = self._session.operation()
        try:
            return await self._reply(operation, kind, body)
        finally:
            self._session.drop(operation)

    async def _reply(self, operation: Operation, kind: Kind, body: bytes) -> Frame:
        try:
            self._session.request(kind, operation.id, body)
            return await self._session.answer(operation)
        except BaseException:
            self._session.forget(operation)
            raise

    def _process(self, operation: Operation) -> GuestProcess:
        process = GuestProcess(self._session, operation)
        if operation.kept:
            return process
        task = asyncio.create_task(self._release_at_end(operation), name=f"guest-process-{operation.id}")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
        return process

    async def _release_at_end(self, operation: Operation) -> None:
        """The agent keeps a process until we have everything of it. Whatever became of it, whoever waits is told."""
        with contextlib.suppress(MonocoreError):
            await asyncio.shield(operation.exit)
            for stream in operation.outputs.values():
                await stream.arrived()
            self._session.forget(operation)
