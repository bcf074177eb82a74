"""Our end of a process that decompresses. What comes from there is a stranger's: lengths are bounded, words are printable."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Callable
from typing import Final

from attrs import define

from monocore_core.errors import Corrupt, LimitExceeded, MachineError
from monocore_core.inflate import BLOCK
from monocore_core.jail import Jailed
from monocore_core.unpacking.worker import BLOCK_OF, CORRUPT, DATA, END, HEAD, MAX_WORDS, READY, TOO_MUCH
from monocore_core.vmmkit.console import LastWords

#: Bytes that a pipe holds: the most that ordinary users may ask for.
_PIPE: Final = 1024 * 1024


@define(eq=False)
class Pipes:
    """Both pipes of a worker before there is one: our ends, and its."""

    to: int
    source: int
    target: int
    taken: int

    @classmethod
    def make(cls) -> Pipes:
        """Two pipes, as large as they may be."""
        source, to = os.pipe2(os.O_CLOEXEC)
        taken, target = os.pipe2(os.O_CLOEXEC)
        for end in (to, target):
            with contextlib.suppress(OSError):  # the user has as much in pipes as allowed
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE)
        return cls(to, source, target, taken)

    def close_theirs(self) -> None:
        """Close the worker's ends, which it has."""
        os.close(self.source)
        os.close(self.target)

    def close_ours(self) -> None:
        """Close ours."""
        os.close(self.to)
        os.close(self.taken)


class Worker:
    """A process that decompresses one stream after the other. Blocking but for :meth:`kill`, which makes the others return.

    One thread may send while another receives.

    Args:
        jailed: the process.
        pipes: whose other ends it has; ours are owned from here on.
        words: what it says on its standard error, owned.
    """

    def __init__(self, jailed: Jailed, pipes: Pipes, words: LastWords) -> None:
        self.layers = jailed.layers
        self.pid = jailed.process.pid
        self._process = jailed.process
        self._pipes = pipes
        self._words = words

    def await_ready(self) -> None:
        """Return when it can begin.

        Raises:
            MachineError: it cannot.
        """
        kind, _ = self._message() or (None, b"")
        if kind != READY:
            raise MachineError(f"what decompresses did not start: {self._words.last_line() or 'no reason'}")

    def send(self, data: bytes) -> None:
        """Give it the next bytes of a stream. One that has ended does not take them, and :meth:`receive` says why."""
        self._put(DATA, data)

    def finish(self) -> None:
        """The stream has no more bytes."""
        self._put(END, b"")

    def receive(self) -> bytearray:
        """The next block, at most :data:`~monocore_core.inflate.BLOCK` bytes; none at the end of a stream.

        Raises:
            Corrupt: the stream is damaged, or has ended the process.
            LimitExceeded: it has too many parts, or takes too much memory.
        """
        message = self._message()
        if message is None:
            raise Corrupt("decompressing it ends the process that does it")
        kind, data = message
        if kind == BLOCK_OF and data:
            return data
        if kind == END and not data:
            return data
        said = data.decode(errors="replace") if len(data) <= MAX_WORDS else ""
        text = "".join(letter for letter in said if letter.isprintable())
        if kind == CORRUPT and text:
            raise Corrupt(text)
        if kind == TOO_MUCH and text:
            raise LimitExceeded(text)
        raise Corrupt("what decompresses it says what it may not")

    def pump(
        self, read: Callable[[], bytes], write: Callable[[bytearray], None], stop: Callable[[], None]
    ) -> None:
        """Put a whole stream through.

        Args:
            read: gives the stream's next bytes, none at its end; called in another thread.
            write: takes the next block.
            stop: makes ``read`` raise, or return, soon; called once, when something else has failed.

        Raises:
            Corrupt, LimitExceeded: as :meth:`receive`; and whatever ``read`` and ``write`` raise.
        """
        failures: list[BaseException] = []

        def send() -> None:
            try:
                while data := read():
                    self.send(data)
                self.finish()
            except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
                failures.append(error)
                self.kill()

        sending = threading.Thread(target=send, name="monocore-send")
        sending.start()
        try:
            while block := self.receive():
                write(block)
        except BaseException:
            self.kill()
            if failures:  # which ended the process
                raise failures[0] from None
            stop()
            raise
        finally:
            sending.join()

    def kill(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):  # it has ended meanwhile, and another thread has closed its handle
            self._process.signal(signal.SIGKILL)

    async def close(self) -> None:
        """End it, and close everything. No method is at work any more, and none is called again."""
        self.kill()
        await self._process.wait()
        self._pipes.close_ours()
        self._words.close()

    def _put(self, kind: int, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            sent = os.writev(self._pipes.to, (head := HEAD.pack(kind, len(data)), data)) - len(head)
            while sent < len(data):
                sent += os.write(self._pipes.to, memoryview(data)[sent:])

    def _message(self) -> tuple[int, bytearray] | None:
        """The next one; None when it has ended before it was whole."""
        head = self._read(HEAD.size)
        if head is None:
            return None
        kind, size = HEAD.unpack(head)
        if size > BLOCK:
            raise Corrupt("what decompresses it says what it may not")
        data = self._read(size)
        return (kind, data) if data is not None else None

    def _read(self, size: int) -> bytearray | None:
        data = bytearray(size)
        with memoryview(data) as view:
            got = 0
            while got < size:
                more = os.readv(self._pipes.taken, [view[got:]])
                if not more:
                    return None
                got += more
        return data
