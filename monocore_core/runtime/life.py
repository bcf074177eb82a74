"""One run of one sandbox: its machine, its command, its log, and its end.

A life begins with a running machine, whether this process launched it or found it, and is over when nothing of the run is left on
the host. In between it can be asked to stop, by whoever may, or by its own limits of time. The end is written down
before the machine is taken away, so those who wait for the exit status need not wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Coroutine, Generator
from contextlib import contextmanager

from attrs import define, evolve, field, frozen

from monocore_core.errors import Conflict, GuestError, MonocoreError, Unsupported
from monocore_core.guest.process import GuestProcess
from monocore_core.interfaces.vmm import PausableMachine
from monocore_core.model.guest import ProcessExit
from monocore_core.model.machine import MachineEnd, MachineExit
from monocore_core.model.record import EndReason, SandboxEnd, SandboxRecord, SandboxState
from monocore_core.runtime.begin import KILLED, NEVER_RAN, Run, stages_of
from monocore_core.runtime.book import Book
from monocore_core.runtime.output import Output
from monocore_core.sandbox import Sandbox

#: Seconds from SIGKILL to a command until its machine is killed.
FORCE = 2.0
#: Seconds that a guest with something to write to a disk has for it; one that did not end its command has :data:`FORCE`.
SYNC = 10.0
#: Exit status of a command that was ended since its time was up.
TIMED_OUT = 124


@frozen
class Wish:
    """Somebody wants the end."""

    reason: EndReason
    requested: bool


@define(eq=False)
class Life:
    """One run. Made by :class:`~monocore_core.runtime.sandboxes.Sandboxes`; :meth:`begin` starts the task that leads it.

    Attributes:
        record: what is written down, kept up to date.
        run: what runs.
        book: where it is written down.
        awake: set but while it is paused.
        pausing: held by whoever stops its processors, or lets them run on.
        ended: gives how the command ended, once all of its output is in the log.
        over: done when nothing of the run is left.
    """

    record: SandboxRecord
    run: Run
    book: Book
    awake: asyncio.Event = field(factory=asyncio.Event, init=False)
    pausing: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    ended: asyncio.Future[SandboxEnd] = field(init=False)
    over: asyncio.Future[None] = field(init=False)
    _wish: Wish | None = field(default=None, init=False)
    _wished: asyncio.Event = field(factory=asyncio.Event, init=False)
    _deaf: bool = field(default=False, init=False)
    _users: int = field(default=0, init=False)
    _touched: float = field(default=0.0, init=False)
    _stopping: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set[asyncio.Task[None]], init=False)

    def __attrs_post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ended, self.over = loop.create_future(), loop.create_future()
        self._touched = loop.time()
        self.awake.set()

    @property
    def sandbox(self) -> Sandbox:
        """The machine and its agent."""
        return self.run.sandbox

    @property
    def process(self) -> GuestProcess | None:
        """Its command."""
        return self.run.process

    @property
    def output(self) -> Output | None:
        """Of its command."""
        return self.run.output

    def begin(self) -> None:
        """Lead this life from now on."""
        if self.output is not None and self.sandbox.stages:
            self.output.at_first(self._first_byte)
        self._later(self._lead())
        order = self.record.order
        if order.timeout is not None:
            self._later(self._expire(order.timeout - max(0.0, time.time() - self.record.started)))
        if order.idle_timeout is not None:
            self._later(self._watch_idleness(order.idle_timeout))

    def _first_byte(self) -> None:
        self.sandbox.mark("first byte")
        self.record = evolve(self.record, stages=stages_of(self.sandbox))
        self.book.show(self.record)

    @contextmanager
    def used(self) -> Generator[None]:
        """Somebody uses the sandbox for as long as the block lasts: it is not idle."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._touched = asyncio.get_running_loop().time()

    async def signal(self, number: int) -> None:
        """Send a signal to the command.

        Raises:
            Conflict: there is no command.
            GuestError: the agent is gone.
        """
        if self.process is None:
            raise Conflict(f"sandbox {self.record.name} has no command that takes signals")
        await self.process.signal(number)

    async def pause(self) -> None:
        """Stop the machine's processors. A repeat does nothing.

        Raises:
            Unsupported: its VMM cannot. Conflict: its command has ended. MachineError: the machine has ended.
        """
        machine = self._pausable()
        async with self.pausing:
            if not self.awake.is_set():
                return
            if self.ended.done() or self._wish is not None:
                raise Conflict(f"sandbox {self.record.name} is ending")
            await (
                machine.pause()
            )  # before it is written down: one that is found paused is resumed in any case
            self.awake.clear()
            self._keep(evolve(self.record, state=SandboxState.PAUSED))
        self.book.tell(self.record, "paused")

    async def resume(self) -> None:
        """Let it run on, with the right time. A repeat does nothing.

        Raises:
            Unsupported: its VMM cannot. MachineError, GuestError: the machine has ended, or its agent is lost.
        """
        machine = self._pausable()
        async with self.pausing:
            if self.awake.is_set():
                return
            await machine.resume()
            self._touched = asyncio.get_running_loop().time()
            self.awake.set()
            if self.record.state is SandboxState.PAUSED:  # it may have ended, by force, while it was
                self._keep(evolve(self.record, state=SandboxState.RUNNING))
            await self.sandbox.guest.set_time(time.time_ns())
        self.book.tell(self.record, "resumed")

    def _pausable(self) -> PausableMachine:
        machine = self.sandbox.machine
        if isinstance(machine, PausableMachine):
            return machine
        raise Unsupported(
            f"sandbox {self.record.name} cannot be paused",
            hint=f"{self.sandbox.plan.vmm} has no way to do it",
        )

    async def stop(
        self, grace: float, *, number: int, reason: EndReason = EndReason.KILLED, requested: bool = True
    ) -> None:
        """Have the command end: by a signal, then by SIGKILL, then with its machine. Returns when it has ended.

        Args:
            grace: seconds for the command to end by itself; 0: by force at once.
            number: of the first signal.
            reason: is recorded.
            requested: whether it is a person's wish.
        """
        if self._wish is None:
            self._wish = Wish(reason, requested)
        async with self._stopping:
            with contextlib.suppress(MonocoreError, TimeoutError):
                if not self.awake.is_set():  # what is to end by itself has to run
                    async with asyncio.timeout(FORCE):
                        await self.resume()
                if self.process is not None:
                    if grace > 0:
                        await self.process.signal(number)
                        await self._within(grace)
                    if not self.ended.done():
                        await self.process.signal(signal.SIGKILL)
                        await self._within(FORCE)
                        self._deaf = not self.ended.done()
            self._wished.set()  # whatever the guest says: the machine goes now
        await asyncio.shield(self.ended)

    async def leave(self) -> None:
        """Let it run on without us; another process may find it. A repeat does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.output is not None:
            self.output.leave()
        await self.sandbox.guest.aclose()
        self.run.log.close()
        for future in (self.ended, self.over):
            future.cancel()

    async def _lead(self) -> None:
        end = await self._until_end()
        self.awake.set()
        if self.sandbox.stages:  # it was not found: its clock is the one of its start
            self.sandbox.mark("exit")
        if self.output is not None:
            await self._drain(self.output)
        requested = self._wish is not None and self._wish.requested
        stages = stages_of(self.sandbox) or self.record.stages
        self._keep(
            evolve(self.record, state=SandboxState.ENDING, end=end, requested=requested, stages=stages)
        )
        if end.reason is EndReason.OOM:
            self.book.tell(self.record, "oom")
        self.book.tell_exit(self.record)
        self.ended.set_result(end)
        await self.finish()

    async def _drain(self, output: Output) -> None:
        """What the command left behind comes to its end, unless somebody wants the machine gone."""
        tasks: set[asyncio.Task[object]] = {
            asyncio.create_task(output.drain()),
            asyncio.create_task(self._wished.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await output.close()

    async def finish(self) -> None:
        """Take away what is left on the host, of a run whose end is written down."""
        try:
            await self._take_away()
        except MonocoreError as error:
            self.run.log.note(
                self.record.label, f"not everything could be removed: {error.brief}", time_ns=time.time_ns()
            )
        self._keep(evolve(self.record, state=SandboxState.EXITED, pid=0, ports=()))
        self.run.log.close()
        if not self.over.done():
            self.over.set_result(None)

    def _keep(self, record: SandboxRecord) -> None:
        self.record = record
        self.book.save(record)

    async def _until_end(self) -> SandboxEnd:
        machine = asyncio.create_task(self.sandbox.machine.wait())
        waits: set[asyncio.Task[object]] = {machine, asyncio.create_task(self._wished.wait())}
        command: asyncio.Task[ProcessExit] | None = None
        if self.process is not None:
            command = asyncio.create_task(self.process.wait())
            waits.add(command)
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if command is not None and command.done() and command.exception() is None:
                return self._of_command(command.result())
            if not self._wished.is_set():
                # an agent that is gone, with its machine or before it; a machine that ends says how
                await asyncio.wait({machine}, timeout=FORCE)
            if machine.done():
                return self._of_machine(machine.result())
            why = command.exception() if command is not None and command.done() else None
            return self._by_force(why)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _of_command(self, ended: ProcessExit) -> SandboxEnd:
        wish = self._wish
        if wish is not None and wish.reason is EndReason.TIMEOUT:
            seconds = f"{self.record.order.timeout or 0.0:g}"
            return _end(TIMED_OUT, EndReason.TIMEOUT, f"its time of {seconds} s was up")
        if ended.oom:
            return _end(ended.code, EndReason.OOM, "it was killed for want of memory")
        return _end(ended.code, wish.reason if wish is not None else EndReason.EXITED)

    def _of_machine(self, ended: MachineExit) -> SandboxEnd:
        if self._wish is not None:
            return self._by_force(None)
        if ended.end is MachineEnd.SHUTDOWN:
            return _end(
                NEVER_RAN, EndReason.VMM_FAILED, f"the sandbox was shut down from within: {ended.detail}"
            )
        return _end(KILLED, EndReason.VMM_FAILED, ended.detail or "its machine ended")

    def _by_force(self, why: BaseException | None) -> SandboxEnd:
        wish = self._wish
        if wish is not None:
            if wish.reason is EndReason.TIMEOUT:
                return _end(TIMED_OUT, EndReason.TIMEOUT, "its time was up")
            return _end(0 if self.process is None else KILLED, wish.reason)
        brief = why.brief if isinstance(why, MonocoreError) else "it does not answer"
        return _end(KILLED, EndReason.VMM_FAILED, f"the guest agent is lost: {brief}")

    async def _take_away(self) -> None:
        with contextlib.suppress(GuestError):
            if self.process is not None:
                await self.process.release()
        request = self.record.order.sandbox
        if request.disk is not None or request.volumes:
            with contextlib.suppress(MonocoreError, TimeoutError):
                async with asyncio.timeout(FORCE if self._deaf else SYNC):
                    await self.sandbox.guest.shutdown(grace=0)
        if self.output is not None:
            await self.output.close()
        await self.sandbox.guest.aclose()
        try:
            await self.run.engine.discard(
                self.record.id, self.sandbox.plan, folder=not keeps_folder(self.record)
            )
        finally:
            if self.record.order.limits:
                await asyncio.to_thread(self.run.groups.release, self.record.id)

    async def _within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self.ended)

    async def _expire(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        await self.stop(FORCE, number=signal.SIGTERM, reason=EndReason.TIMEOUT, requested=False)

    async def _watch_idleness(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            touched = max(self._touched, self.output.touched if self.output is not None else 0.0)
            if not self.awake.is_set():
                await self.awake.wait()
                continue
            busy = self._users or (self.output is not None and self.output.attached)
            left = seconds if busy else touched + seconds - loop.time()
            if left <= 0:
                break
            await asyncio.sleep(left)
        await self.stop(FORCE, number=signal.SIGTERM, reason=EndReason.IDLE, requested=False)

    def _later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def keeps_folder(record: SandboxRecord) -> bool:
    """Whether a sandbox has something in its folder that stays from run to run."""
    request = record.order.sandbox
    return not record.order.remove and (
        request.disk is not None or any(not one.source for one in request.volumes)
    )


def _end(code: int, reason: EndReason, detail: str = "") -> SandboxEnd:
    return SandboxEnd(code, reason, detail, time.time())
