"""Running one order: open the engine, start the sandbox, and attend its process until it ends.

What can end it: the process itself; a deadline; a reader of our output that went away; a person's third Ctrl-C; the machine.
Whichever it is, the terminal is put back and the sandbox removed before the status is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack

from monocore_core.cli.descriptors import OutputClosed
from monocore_core.cli.failures import FAILED, warn
from monocore_core.cli.opening import open_engine
from monocore_core.cli.order import Order
from monocore_core.cli.progress import PullProgress
from monocore_core.cli.pump import Outflow, Readable, drain, pump_in
from monocore_core.cli.signals import Signals, run_interruptibly
from monocore_core.cli.terminal import STDERR, STDIN, STDOUT, RawTerminal, is_terminal, terminal_size
from monocore_core.config.values import Settings
from monocore_core.errors import GuestError, MachineError, MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.model.guest import ProcessExit, TerminalSize
from monocore_core.model.machine import MachineEnd
from monocore_core.model.sandbox import MIB, PullPolicy
from monocore_core.sandbox import Sandbox

TIMED_OUT = 124
#: Seconds that a command gets to end by itself after SIGTERM, when its time is up.
GRACE = 2.0
#: Seconds without a byte, after the process ended, until what its children still hold open is given up.
SILENCE = 0.5


def run_order(order: Order, settings: Settings) -> int:
    """Do what was ordered and give the exit status."""

    async def work(signals: Signals) -> int:
        intro = ""
        if order.sandbox.pull is PullPolicy.MISSING:
            intro = f"Unable to find image '{order.sandbox.image}' locally"
        with PullProgress(quiet=order.quiet, intro=intro, stages=order.timing) as progress:
            async with (
                open_engine(settings, progress) as engine,
                engine.sandbox(order.sandbox, command=order.command) as sandbox,
            ):
                return await _Attendance(order, sandbox, signals).attend()

    return run_interruptibly(work)


class _Attendance:
    """One process in a sandbox, our descriptors, and our signals."""

    def __init__(self, order: Order, sandbox: Sandbox, signals: Signals) -> None:
        self._order = order
        self._sandbox = sandbox
        self._signals = signals
        self._forced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exit = ProcessExit(FAILED)
        self._remarks: list[str] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def attend(self) -> int:
        """From the start of the process to its status."""
        process = self._sandbox.first or await self._sandbox.exec(self._order.command)
        with ExitStack() as stack:
            stack.callback(self._signals.finish)
            if self._order.command.terminal is not None:
                self._take_terminal(process, stack)
            self._signals.forward_to(lambda number: self._send(process, number), self._impatient)
            status = await self._until_end(process)
        for remark in self._remarks:
            warn(remark)
        return status

    def _take_terminal(self, process: GuestProcess, stack: ExitStack) -> None:
        """Follow the terminal's size, and hand its keys over when they are ours to give."""
        raw: RawTerminal | None = None
        if self._order.interactive and is_terminal(STDIN):
            raw = stack.enter_context(RawTerminal(STDIN))

        def resized() -> None:
            self._later(process.resize(TerminalSize(*terminal_size())))

        def continued() -> None:
            if raw is not None:
                raw.apply()
            resized()

        self._signals.on(signal.SIGWINCH, resized)
        self._signals.on(signal.SIGCONT, continued)
        resized()  # it may have changed while the machine started

    async def _until_end(self, process: GuestProcess) -> int:
        """Copy until one of the ends comes, and finish that one properly."""
        outflows = [Outflow(self._watched(process.stdout), STDOUT)]
        if self._order.command.terminal is None:
            outflows.append(Outflow(self._watched(process.stderr), STDERR))
        ended = asyncio.create_task(self._wait(process))
        tasks = [ended, *(outflow.task for outflow in outflows)]
        if self._order.interactive:
            tasks.append(asyncio.create_task(self._input(process)))
        for task in tasks:
            task.add_done_callback(_heard)
        try:
            if not await self._first_end({self._forced, *tasks}, ended):
                return await self._time_is_up(process, ended, outflows)
            if self._forced.done():
                return 128 + signal.SIGKILL
            await drain(outflows, SILENCE)
            return self._status()
        except OutputClosed:
            return 128 + signal.SIGPIPE
        except GuestError as error:
            raise await self._explained(error) from error
        finally:
            for task in (*tasks, *self._sending):
                task.cancel()

    async def _input(self, process: GuestProcess) -> None:
        """Our standard input, to its end. A terminal has none unless it hangs up, and so does the guest's then."""
        await pump_in(STDIN, process.stdin)
        if self._order.command.terminal is not None:
            await process.signal(signal.SIGHUP, group=True)
            await asyncio.sleep(GRACE)
            self._end_by_force("the terminal hung up: the sandbox was ended")

    async def _first_end(self, events: set[asyncio.Future[None]], ended: asyncio.Future[None]) -> bool:
        """Wait until the process has ended, or was ended by force; False when its time is up before.

        Raises:
            OutputClosed, MonocoreError: of whatever else failed.
        """
        loop = asyncio.get_running_loop()
        deadline = None if self._order.timeout is None else loop.time() + self._order.timeout
        while not ended.done() and not self._forced.done():
            left = None if deadline is None else max(0.0, deadline - loop.time())
            done, events = await asyncio.wait(events, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return False
            for event in done:
                event.result()
        return True

    async def _explained(self, error: GuestError) -> MonocoreError:
        """The agent is gone: why, as the machine tells it."""
        try:
            end = await asyncio.wait_for(self._sandbox.machine.wait(), GRACE)
        except TimeoutError:
            return error
        if end.end is MachineEnd.SHUTDOWN:
            return GuestError("the sandbox was shut down from within before its command ended")
        said = f": {end.detail}" if end.detail else ""
        return MachineError(f"the virtual machine ended before the command did{said}")

    async def _time_is_up(
        self, process: GuestProcess, ended: asyncio.Task[None], outflows: Sequence[Outflow]
    ) -> int:
        self._remarks.append(f"the command was ended after {self._order.timeout:g} s (--timeout)")
        self._later(process.signal(signal.SIGTERM, group=True))
        done, _ = await asyncio.wait(
            {ended, self._forced}, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED
        )
        if ended in done:
            await drain(outflows, SILENCE)
        return TIMED_OUT

    async def _wait(self, process: GuestProcess) -> None:
        self._exit = await process.wait()
        self._sandbox.mark("exit")

    def _watched(self, stream: Readable) -> Readable:
        return _Watched(stream, self._first_byte)

    def _first_byte(self) -> None:
        if all(stage.name != "first byte" for stage in self._sandbox.stages):
            self._sandbox.mark("first byte")

    def _status(self) -> int:
        if self._exit.oom:
            memory = self._order.sandbox.memory // MIB
            self._remarks.append(
                f"the command was killed for want of memory (the sandbox has {memory}m; see --memory)"
            )
        return self._exit.code

    def _send(self, process: GuestProcess, number: int) -> None:
        """Pass a signal on. In a terminal SIGTERM hangs up as well, since interactive shells ignore it alone."""
        self._later(process.signal(number))
        if number == signal.SIGTERM and self._order.command.terminal is not None:
            self._later(process.signal(signal.SIGHUP))

    def _impatient(self) -> None:
        self._end_by_force("the command did not react to three signals: its sandbox was ended")

    def _end_by_force(self, remark: str) -> None:
        if not self._forced.done():
            self._remarks.append(remark)
            self._forced.set_result(None)

    def _later(self, sending: Coroutine[object, object, None]) -> None:
        async def send() -> None:
            with contextlib.suppress(
                MonocoreError
            ):  # it has ended meanwhile, or the machine has: the wait says so
                await sending

        task = asyncio.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


class _Watched:
    """A stream of which something is called when there is output."""

    def __init__(self, stream: Readable, call: Callable[[], None]) -> None:
        self._stream = stream
        self._call: Callable[[], None] | None = call

    async def read(self, limit: int) -> bytes:
        """As the stream's."""
        data = await self._stream.read(limit)
        if data and self._call is not None:
            self._call()
            self._call = None
        return data


def _heard(task: asyncio.Task[None]) -> None:
    """One end is told; what else fails with it is not to be complained of."""
    if not task.cancelled():
        task.exception()
