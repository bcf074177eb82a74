"""A command that runs elsewhere, attached to our descriptors, our terminal and our signals: what ``run``, ``exec`` and ``attach`` share.

One loop waits for everything at once: the daemon, our input, signals, and the threads that write our output. Nothing that somebody
does not read, or does not send, keeps it from the rest. It says how it ended, as a value; whoever began says what that means.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from monocore_core.cli.descriptors import OutputClosed, read_some
from monocore_core.cli.impatience import ENDING, PASSED_ON, Impatience
from monocore_core.cli.outflow import Outflow
from monocore_core.cli.terminal import STDERR, STDIN, STDOUT, RawTerminal, is_terminal, terminal_size
from monocore_core.client.api import problem
from monocore_core.client.tables import Table, inner, parse_table, text, whole
from monocore_core.client.websocket import BINARY, TEXT, WebSocket
from monocore_core.errors import MonocoreError

#: Bytes of input that wait for the daemon before no more is read.
ROOM = 512 * 1024
#: Keys that detach: Ctrl-P, Ctrl-Q.
DETACH_KEYS = b"\x10\x11"
#: Seconds that a hung-up terminal's command gets, and the daemon to end what is to be ended at once.
GRACE = 2.0
#: Seconds after which a daemon elsewhere is told that we are here, when we do not read what it sends, its pings among it.
ALIVE = 10.0
_READS, _WRITES = select.POLLIN, select.POLLOUT


class Started:
    """Who it is."""

    def __init__(self, said: Table) -> None:
        self.id = text(said, "id")
        self.name = text(said, "name")


class Exited:
    """The command has ended."""

    def __init__(self, said: Table) -> None:
        self.code = whole(said, "code", 125)
        self.reason = text(said, "reason")
        self.detail = text(said, "detail")
        self.oom = said.get("oom") is True


class Failed:
    """The daemon says why it could not."""

    def __init__(self, error: MonocoreError) -> None:
        self.error = error


class Lost:
    """The daemon is gone."""


class Detached:
    """We left, and it runs on."""


class Signalled:
    """A signal ended us, before there was a command that could have had it; or a third one, by force.

    Attributes:
        number: of the signal.
        forced: whether there was a command.
    """

    def __init__(self, number: int, *, forced: bool) -> None:
        self.number = number
        self.forced = forced


class OutputGone:
    """Nobody reads our output."""


Ending = Exited | Failed | Lost | Detached | Signalled | OutputGone


class Wishes:
    """How to attach.

    Attributes:
        stdin: our standard input is sent.
        terminal: the command has a terminal.
        leave: detach as soon as it has started.
        began: called when it has started.
        event: called with what the daemon tells before.
        kill: called when a person wants the end at once.
    """

    def __init__(
        self,
        *,
        stdin: bool,
        terminal: bool,
        leave: bool = False,
        began: Callable[[Started], None] | None = None,
        event: Callable[[Table], None] | None = None,
        kill: Callable[[Started], None] | None = None,
    ) -> None:
        self.stdin = stdin
        self.terminal = terminal
        self.leave = leave
        self.began = began
        self.event = event
        self.kill = kill


def attend(socket: WebSocket, wishes: Wishes) -> Ending:
    """Attend the command that the first message asks for, which was sent, until one of the ends comes.

    Raises:
        Corrupt, LimitExceeded: the daemon sends what no daemon may.
        StorageError: our input cannot be read, or our output is a file and the disk refuses.
    """
    with ExitStack() as stack:
        stack.callback(socket.close)
        attendance = _Attendance(socket, wishes, stack)
        try:
            return attendance.until_end()
        except OutputClosed:
            return OutputGone()


class _Attendance:
    def __init__(self, socket: WebSocket, wishes: Wishes, stack: ExitStack) -> None:
        self._socket = socket
        self._wishes = wishes
        self._stack = stack
        # stays open: a thread that is stuck in a write may use it as long as the process lasts
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        stack.enter_context(_signals(self._waker))
        self._outflows = {number: Outflow(fd, self._news) for number, fd in ((1, STDOUT), (2, STDERR))}
        self._started: Started | None = None
        self._reading = False
        self._raw: RawTerminal | None = None
        self._held = b""
        self._impatience = Impatience()
        self._ending: Ending | None = None
        self._deadline: float | None = None

    def until_end(self) -> Ending:
        """Wait, and do what is to be done, until there is an end and all output is written."""
        self._hear()
        while self._ending is None or not all(outflow.idle for outflow in self._outflows.values()):
            if isinstance(self._ending, Signalled | Detached):
                break
            ready = self._wait()
            if self._wake in ready:
                self._woken()
            if self._ending is None and self._socket.fileno() in ready:
                self._socket.flush()
                self._hear()
            if STDIN in ready and self._reading:
                self._read()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._force(signal.SIGHUP)
        self._restore()
        return self._ending

    def _wait(self) -> set[int]:
        """Which descriptors there is something to do for."""
        poll = select.poll()
        poll.register(self._wake, _READS)
        if self._ending is None:
            wanted = 0 if any(outflow.full for outflow in self._outflows.values()) else _READS
            wanted |= _WRITES if self._socket.pending else 0
            if wanted:
                poll.register(self._socket.fileno(), wanted)
            if self._reading and self._socket.pending < ROOM:
                poll.register(STDIN, _READS)
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        held = self._ending is None and any(outflow.full for outflow in self._outflows.values())
        if held:
            left = ALIVE if left is None else min(left, ALIVE)
        ready = {fd for fd, _ in poll.poll(None if left is None else left * 1000)}
        if held and not ready:
            self._socket.alive()
        return ready

    # from the daemon

    def _hear(self) -> None:
        for kind, payload in self._socket.receive():
            if kind == BINARY:
                outflow = self._outflows.get(payload[0] if payload else 0)
                if outflow is not None and len(payload) > 1 and not self._wishes.leave:
                    outflow.put(payload[1:])
            elif self._ending is None:
                self._told(parse_table(payload))
        if self._socket.ended and self._ending is None:
            self._ending = Lost()

    def _told(self, said: Table) -> None:
        if "event" in said and self._wishes.event is not None:
            self._wishes.event(inner(said, "event"))
        elif "started" in said:
            self._begin(Started(inner(said, "started")))
        elif "exit" in said:
            self._ending = Exited(inner(said, "exit"))
        elif "error" in said:
            self._ending = Failed(problem(inner(said, "error")))

    def _begin(self, started: Started) -> None:
        self._started = started
        self._impatience.forget()
        if self._wishes.began is not None:
            self._wishes.began(started)
        if self._wishes.leave:
            self._leave()
            return
        if self._wishes.terminal:
            if self._wishes.stdin and is_terminal(STDIN):
                self._raw = self._stack.enter_context(RawTerminal(STDIN))
            self._resize()
        self._reading = self._wishes.stdin

    # to the daemon

    def _say(self, message: Table) -> None:
        self._socket.send(TEXT, json.dumps(message).encode())

    def _resize(self) -> None:
        self._say({"resize": list(terminal_size())})

    def _read(self) -> None:
        """Some of our input. A terminal has no end unless it hangs up, and so does the command's then."""
        data = read_some(STDIN)
        if not data:
            self._reading = False
            if self._wishes.terminal:
                self._say({"signal": int(signal.SIGHUP)})
                self._deadline = time.monotonic() + GRACE
            else:
                self._socket.send(BINARY, b"\0")
            return
        if self._raw is not None:
            data, left = self._without_keys(data)
        else:
            left = False
        if data:
            self._socket.send(BINARY, b"\0", data)
        if left:
            self._leave()

    def _without_keys(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be sent, and whether the person leaves. The first key is held back until the next one is known."""
        data = self._held + data
        self._held = b""
        before, keys, _ = data.partition(DETACH_KEYS)
        if keys:
            return before, True
        if data.endswith(DETACH_KEYS[:1]):
            self._held = data[-1:]
            data = data[:-1]
        return data, False

    def _leave(self) -> None:
        """Say that we leave, and see that it was heard: until the daemon closes, for a while."""
        self._restore()
        self._say({"detach": True})
        deadline = time.monotonic() + GRACE
        while not self._socket.ended and (left := deadline - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._socket.fileno(), _READS | (_WRITES if self._socket.pending else 0))
            poll.poll(left * 1000)
            self._socket.flush()
            self._socket.receive()
        self._ending = Detached()

    # from ourselves

    def _news(self) -> None:
        with suppress(OSError):  # full: it will be looked at anyway
            os.write(self._waker, b"\0")

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            for number in os.read(self._wake, 4096):
                if number:
                    self._signalled(number)
        for outflow in self._outflows.values():
            outflow.check()

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGWINCH, signal.SIGCONT):
            if number == signal.SIGCONT and self._raw is not None:
                self._raw.apply()
            if self._wishes.terminal and self._started is not None:
                self._resize()
        elif self._started is None or self._ending is not None:
            if number in ENDING:
                self._ending = Signalled(number, forced=False)
        elif number in ENDING and self._impatience.grows():
            self._force(number)
        else:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """In a terminal SIGTERM hangs up as well, since interactive shells ignore it alone."""
        self._say({"signal": int(number)})
        if number == signal.SIGTERM and self._wishes.terminal:
            self._say({"signal": int(signal.SIGHUP)})

    def _force(self, number: int) -> None:
        self._restore()
        if self._wishes.kill is not None and self._started is not None:
            self._wishes.kill(self._started)
        self._ending = Signalled(number, forced=True)

    def _restore(self) -> None:
        if self._raw is not None:
            self._raw.restore()


@contextmanager
def _signals(fd: int) -> Generator[None]:
    """Have the numbers of signals written to a descriptor, within the block. What is ignored stays so."""
    before = {
        number: signal.getsignal(number) for number in (*ENDING, *PASSED_ON, signal.SIGWINCH, signal.SIGCONT)
    }
    ours = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    former = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    for number in ours:
        signal.signal(number, _heard)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former)


def _heard(number: int, frame: FrameType | None) -> None:
    """The number is in the pipe."""
    del number, frame
