"""Our end of a process that decompresses. What comes from there is a stranger's: lengths are bounded, words are printable."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable

from attrs import define

from monocore_core.errors import Corrupt, DeadlineExceeded, LimitExceeded, MachineError
from monocore_core.inflate import BLOCK
from monocore_core.jail import Jailed
from monocore_core.unpacking.worker import (
    BLOCK_OF,
    CORRUPT,
    DATA,
    END,
    HEAD,
    IN_SIZE,
    IN_SLOTS,
    MAX_WORDS,
    MEMORY,
    READY,
    TOO_MUCH,
    place_in,
    place_out,
)
from monocore_core.vmmkit.console import LastWords

#: Seconds that it may take over what it has been given, beside one for each so many bytes of output. Real ones give some hundred MiB a second.
PATIENCE, LEAST_RATE = 60.0, 1024 * 1024
#: Seconds between two looks at whether it has anything to do.
_LOOK = 0.2


@define(eq=False)
class Line:
    """What we and a worker have in common: pipes, and memory; our ends, and its.

    Attributes:
        ours: pipes to tell it, to be told, to say that its slots are empty, to be told that ours are.
        theirs: their other ends, in the same order.
        memory: descriptor of the shared memory. Its size cannot be changed: reading it where nothing is left would end us.
        view: of it.
    """

    ours: tuple[int, int, int, int]
    theirs: tuple[int, int, int, int]
    memory: int
    view: mmap.mmap

    @classmethod
    def make(cls) -> Line:
        """A new one."""
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(4)]
        memory = os.memfd_create("monocore-unpacking", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, MEMORY)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        (source, to), (told, target), (emptied, empty), (free, taken) = pipes
        return cls(
            (to, told, empty, free), (source, target, emptied, taken), memory, mmap.mmap(memory, MEMORY)
        )

    def close_theirs(self) -> None:
        """Close the worker's ends, which it has, and our handle of the memory."""
        for end in (*self.theirs, self.memory):
            os.close(end)

    def close_ours(self) -> None:
        """Close ours."""
        for end in self.ours:
            os.close(end)
        self.view.close()


class Worker:
    """A process that decompresses one stream after the other. Blocking but for :meth:`kill`, which makes the others return.

    One thread may send while another receives.

    Args:
        jailed: the process.
        line: whose other ends it has; ours are owned from here on.
        words: what it says on its standard error, owned.
    """

    def __init__(self, jailed: Jailed, line: Line, words: LastWords) -> None:
        self.layers = jailed.layers
        self.pid = jailed.process.pid
        self._process = jailed.process
        self._line = line
        self._to, self._told, self._empty, self._freed = line.ours
        self._words = words
        self._sent = self._received = 0
        self._free = IN_SLOTS
        self._finished = False
        self._waited, self._bytes = 0.0, 0
        self._poll = select.poll()
        self._poll.register(self._told, select.POLLIN)

    def await_ready(self) -> None:
        """Return when it can begin.

        Raises:
            MachineError: it cannot.
        """
        if self._read(HEAD.size) != HEAD.pack(READY, 0):
            raise MachineError(f"what decompresses did not start: {self._words.last_line() or 'no reason'}")

    def send(self, data: bytes) -> None:
        """Give it the next bytes of a stream. One that has ended does not take them, and :meth:`receive` says why."""
        for start in range(0, len(data), IN_SIZE):
            piece = data[start : start + IN_SIZE]
            while not self._free:
                self._free = len(os.read(self._freed, IN_SLOTS))
                if not self._free:
                    return
            self._free -= 1
            place = place_in(self._sent)
            self._sent += 1
            self._line.view[place : place + len(piece)] = piece
            self._tell(DATA, len(piece))

    def finish(self) -> None:
        """The stream has no more bytes."""
        self._finished = True
        self._tell(END, 0)

    def receive(self, into: bytearray) -> memoryview:
        """The next block, at most :data:`~monocore_core.inflate.BLOCK` bytes; none at the end of a stream.

        Args:
            into: takes it, and is as large as a block may be: a copy, which nobody changes any more. A buffer that is used again costs the kernel
                no fresh pages.

        Raises:
            Corrupt: the stream is damaged, or has ended the process.
            LimitExceeded: it has too many parts, or takes too much memory.
            DeadlineExceeded: nothing comes of what the process was given, or too slowly: somebody else may have it.
        """
        self._await()
        head = self._read(HEAD.size)
        if head is None:
            raise Corrupt("decompressing it ends the process that does it")
        kind, size = HEAD.unpack(head)
        if kind == BLOCK_OF and 0 < size <= BLOCK:
            place = place_out(self._received)
            self._received += 1
            self._bytes += size
            block = memoryview(into)[:size]
            with memoryview(self._line.view) as shared:
                block[:] = shared[place : place + size]
            with contextlib.suppress(BrokenPipeError):
                os.write(self._empty, b"\0")
            return block
        if kind == END and not size:
            self._finished = False
            self._waited, self._bytes = 0.0, 0
            return memoryview(b"")
        said = self._read(size) if kind in (CORRUPT, TOO_MUCH) and size <= MAX_WORDS else None
        text = "".join(filter(str.isprintable, (said or b"").decode(errors="replace")))
        if not text:
            raise Corrupt("what decompresses it says what it may not")
        raise Corrupt(text) if kind == CORRUPT else LimitExceeded(text)

    def pump(
        self, read: Callable[[], bytes], write: Callable[[bytes | memoryview], None], stop: Callable[[], None]
    ) -> None:
        """Put a whole stream through.

        Args:
            read: gives the stream's next bytes, none at its end; called in another thread.
            write: takes the next block, which is another as soon as it returns.
            stop: makes ``read`` raise, or return, soon; called once, when something else has failed.

        Raises:
            Corrupt, LimitExceeded: as :meth:`receive`; and whatever ``read`` and ``write`` raise.
        """
        failures: list[BaseException] = []
        room = bytearray(BLOCK)

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
            while block := self.receive(room):
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
        self._line.close_ours()
        self._words.close()

    def _tell(self, kind: int, size: int) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._to, HEAD.pack(kind, size))

    def _await(self) -> None:
        """Return when it tells something. Time counts that passes while it has something to do."""
        told = False
        while not told:
            owes, begun = self._owes(), time.monotonic()
            told = bool(self._poll.poll(_LOOK * 1000))
            self._waited += time.monotonic() - begun if owes else 0.0
            if self._waited > PATIENCE + self._bytes / LEAST_RATE:
                raise DeadlineExceeded("decompressing it has come to a standstill")

    def _owes(self) -> bool:
        """Whether it has slots that it has not emptied, or is to end."""
        (emptied,) = struct.unpack("i", fcntl.ioctl(self._freed, termios.FIONREAD, bytes(4)))
        return self._finished or self._free + emptied < IN_SLOTS

    def _read(self, size: int) -> bytes | None:
        """So many bytes of what it tells; None when there are fewer."""
        data = b""
        while len(data) < size:
            if not (more := os.read(self._told, size - len(data))):
                return None
            data += more
        return data
