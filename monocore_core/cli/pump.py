"""Bytes between our descriptors and the guest's process: exact, in order, with backpressure both ways.

Reading and writing happen in a daemon thread for each stream, with plain blocking calls: they work alike for pipes, terminals,
files and sockets, leave the flags of descriptors that we share with other programs alone, and a reader that has stalled can
neither stop the event loop (which must go on to take signals) nor delay our exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from queue import SimpleQueue
from typing import Protocol, TypeVar

from monocore_core.cli.descriptors import CHUNK, read_some, write_all

T = TypeVar("T")


class Readable(Protocol):
    """An output stream of a process in the guest."""

    async def read(self, limit: int) -> bytes:
        """At least one byte, ``b""`` at the end."""
        ...


class Writable(Protocol):
    """The standard input of a process in the guest."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the guest does not take more."""
        ...

    async def close(self) -> None:
        """Send the end."""
        ...


class Worker:
    """One daemon thread that makes blocking calls, in order, for a coroutine. Unlike an executor it never delays the exit."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """The result of ``call``. Cancellation abandons the call, which may still be going on."""
        future: Future[T] = Future()

        def job() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - carried to the one who waits
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, result)

        self._jobs.put(job)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Outflow:
    """Copies one output stream of the guest to a descriptor, to the stream's end, in a task of its own.

    Attributes:
        task: ends with the stream; raises OutputClosed when nobody reads the descriptor any more, StorageError when it is a
            file and the disk refused, and what reading from the guest raises.
    """

    def __init__(self, source: Readable, fd: int) -> None:
        self._source = source
        self._fd = fd
        self._moved = 0
        self._reading = False
        self.task = asyncio.create_task(self._copy(), name=f"output-{fd}")

    @property
    def silence(self) -> int | None:
        """Bytes copied so far while it waits for the guest; None while it is busy writing."""
        return self._moved if self._reading else None

    async def _copy(self) -> None:
        with contextlib.closing(Worker(f"output-{self._fd}")) as worker:
            while data := await self._next():
                await worker.run(partial(write_all, self._fd, data))
                self._moved += len(data)

    async def _next(self) -> bytes:
        self._reading = True
        try:
            return await self._source.read(CHUNK)
        finally:
            self._reading = False


async def drain(outflows: Sequence[Outflow], patience: float) -> None:
    """After the process ended: wait for the end of its output, however slow our reader is.

    A child that it left behind may hold a stream open for ever: after ``patience`` seconds without a byte that is given up.
    """
    while waiting := [outflow for outflow in outflows if not outflow.task.done()]:
        before = [outflow.silence for outflow in waiting]
        done, _ = await asyncio.wait([outflow.task for outflow in waiting], timeout=patience)
        after = [outflow.silence for outflow in waiting]
        if not done and before == after and None not in after:
            return
    for outflow in outflows:
        outflow.task.result()


async def pump_in(fd: int, sink: Writable) -> None:
    """Copy a descriptor to the guest until its end, and say the end.

    Cancellation abandons a read that waits; what it gets is lost with the process.
    """
    with contextlib.closing(Worker(f"input-{fd}")) as worker:
        while data := await worker.run(partial(read_some, fd)):
            await sink.write(data)
    await sink.close()


def _settle(action: Callable[[T], None], value: T) -> None:
    with contextlib.suppress(InvalidStateError):  # given up meanwhile
        action(value)
