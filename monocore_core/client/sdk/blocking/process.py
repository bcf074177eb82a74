"""A process in a sandbox, with its streams, over a WebSocket that is waited for with poll(2)."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from monocore_core.client.sdk import talk
from monocore_core.client.sdk.blocking.link import Link
from monocore_core.client.sdk.values import Exit
from monocore_core.client.websocket import BINARY, TEXT, WebSocket
from monocore_core.errors import Conflict, DeadlineExceeded

#: Bytes of input in one message, and that wait for the daemon before the program does.
PIECE, MAX_PENDING = 256 * 1024, 4 * 1024 * 1024
_CHUNK = 64 * 1024


class Output:
    """One output of a process. Iterate over it for what comes, as it comes."""

    def __init__(self, process: Process, mark: int) -> None:
        self._process = process
        self._mark = mark

    def read(self, limit: int = _CHUNK, *, timeout: float | None = None) -> bytes:
        """At least a byte, at most ``limit``; ``b""`` at its end.

        Raises:
            DeadlineExceeded: nothing came in so many seconds. MonocoreError: it cannot come any more.
        """
        return self._process.read(self._mark, limit, timeout)

    def read_all(self) -> bytes:
        """Everything until its end."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read():
            yield chunk


class Process:
    """A process that runs. A context manager: leaving it ends the process, by a hang-up, when it still runs.

    Attributes:
        stdout: its output; of a terminal, everything.
        stderr: empty for a terminal.
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._talk = talk.Talk()
        self._closed = False
        self.stdout = Output(self, talk.OUT)
        self.stderr = Output(self, talk.ERR)

    @classmethod
    def open(cls, link: Link, where: str, first: str) -> Process:
        """Connect, say what is wanted, and wait until it runs. Failure leaves nothing that runs.

        Raises:
            CommandNotFound, CommandNotExecutable, GuestError: it cannot be run. NotFound, Conflict: the sandbox cannot.
        """
        process = cls(link.websocket(where))
        try:
            process._socket.send(TEXT, first.encode())
            process._until(lambda: process._talk.started or process._talk.over)
            process._talk.begun()
        except BaseException:
            process.close()
            raise
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def exit(self) -> Exit | None:
        """How it ended, as far as that was heard of."""
        return self._talk.exit

    def write(self, data: bytes | str) -> None:
        """Send to its standard input; waits while too much waits there, and keeps what it writes meanwhile.

        Raises:
            Conflict: it has ended.
        """
        raw = data.encode() if isinstance(data, str) else data
        for at in range(0, len(raw), PIECE):
            self._send(BINARY, bytes([talk.IN]) + raw[at : at + PIECE])

    def close_stdin(self) -> None:
        """End its standard input."""
        self._send(BINARY, bytes([talk.IN]))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._send(TEXT, talk.signal(number).encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal; without one, nothing happens."""
        self._send(TEXT, talk.resize(rows, columns).encode())

    def read(self, mark: int, limit: int, timeout: float | None) -> bytes:
        """Of an output: see :meth:`Output.read`."""
        self._until(lambda: self._talk.has(mark), timeout)
        return self._talk.take(mark, limit)

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait until it has ended. Its output is kept meanwhile, up to 64 MiB of each.

        Raises:
            DeadlineExceeded: it has not in so many seconds; it runs on. MonocoreError: the connection was lost.
        """
        self._until(lambda: self._talk.over, timeout)
        return self._talk.ended()

    def close(self) -> None:
        """Leave it; when it still runs, it is hung up on. A repeat does nothing."""
        if not self._closed:
            self._closed = True
            self._socket.close()

    def _send(self, kind: int, data: bytes) -> None:
        if self._talk.over or self._closed or self._socket.ended:
            raise Conflict("the process has ended")
        self._socket.send(kind, data)
        self._until(lambda: self._socket.pending <= MAX_PENDING or self._talk.over)

    def _until(self, ready: Callable[[], bool], timeout: float | None = None) -> None:
        """Send and hear until something is so."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not ready():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise DeadlineExceeded(f"nothing came within {timeout:g} s")
            self._hear(left)

    def _hear(self, seconds: float | None) -> None:
        if self._closed:
            self._talk.on_end()
            return
        if self._take_in():  # what TLS has decrypted already wakes no poll
            return
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN | (select.POLLOUT if self._socket.pending else 0))
        for _, happened in poll.poll(None if seconds is None else seconds * 1000):
            if happened & select.POLLOUT:
                self._socket.flush()
        self._take_in()

    def _take_in(self) -> bool:
        """Hear what has come, without waiting; whether anything has."""
        messages = self._socket.receive()
        for kind, payload in messages:
            if kind == TEXT:
                self._talk.on_text(payload)
            elif kind == BINARY:
                self._talk.on_binary(payload)
        if self._socket.ended:
            self._talk.on_end()
        return bool(messages) or self._socket.ended
