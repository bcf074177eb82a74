"""Every sandbox of one home, and what can be done with each. See :mod:`monocore_core.runtime` for how it is built.

Worked example::

    async with Sandboxes.open(settings) as sandboxes:
        record = sandboxes.create(SandboxOrder(SandboxRequest("alpine:3.20", name="job"), CommandRequest(("make",))))
        await sandboxes.start("job")
        end = await sandboxes.wait("job")          # the exit status, as soon as its output is in the log
        for line in sandboxes.logs.reader(record.id).lines(LogQuery()):
            ...
        await sandboxes.remove("job")

A later process that opens the home finds what still runs and goes on with it: no output is lost or doubled.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define, evolve, field

from monocore_core.concurrency import background
from monocore_core.config.values import Settings
from monocore_core.engine import new_key
from monocore_core.errors import Conflict, NotFound
from monocore_core.guest.process import GuestProcess
from monocore_core.logs import LogLimits, LogStore
from monocore_core.metrics.starts import Starts
from monocore_core.model.events import Listener, ignore
from monocore_core.model.record import EndReason, SandboxEnd, SandboxOrder, SandboxRecord, SandboxState
from monocore_core.model.sandbox import CommandRequest
from monocore_core.origin import Origin
from monocore_core.plugins import Plugins, discover
from monocore_core.pooling import Pool
from monocore_core.runtime.begin import (
    Beginning,
    Preparation,
    nothing_to_prepare,
)
from monocore_core.runtime.book import Book
from monocore_core.runtime.engines import Engines
from monocore_core.runtime.happenings import Happenings
from monocore_core.runtime.hearing import listener_of
from monocore_core.runtime.hostlimits import HostGroups
from monocore_core.runtime.launching import Launches
from monocore_core.runtime.life import Life
from monocore_core.runtime.lives import Attach, Lives, stop_signal
from monocore_core.store.records import Records


@define(eq=False)
class Sandboxes:
    """The sandboxes of one home. Use :meth:`open`.

    Attributes:
        engines: by settings.
        logs: of every sandbox, by its id.
        book: the records.
        groups: limits of their VMMs.
        starts: how long they took, and why they failed.
        lives: the runs under way.
    """

    engines: Engines
    logs: LogStore
    book: Book
    groups: HostGroups
    starts: Starts = field(factory=Starts)
    lives: Lives = field(init=False)
    _launches: Launches = field(factory=Launches, init=False)

    def __attrs_post_init__(self) -> None:
        self.lives = Lives(self.engines, self.logs, self.book, self.groups, self.starts)

    @staticmethod
    @asynccontextmanager
    async def open(
        settings: Settings, *, plugins: Plugins | None = None, log_limits: LogLimits | None = None
    ) -> AsyncGenerator[Sandboxes]:
        """Open a home's sandboxes, find those that run, and put in order what an earlier process left.

        The caller sees to it that no other process has them open. On leaving, what runs goes on.

        Raises:
            ConfigError, StorageError, Corrupt: as opening an engine says.
        """
        happenings = Happenings()
        async with AsyncExitStack() as stack:
            starts = Starts()
            hear = listener_of(happenings, starts)
            pool = Pool(settings.pool, hear)
            engines = Engines(settings, plugins or discover(), hear, stack, pool)
            engine = await engines.base()
            limits = LogLimits() if log_limits is None else log_limits
            logs = LogStore(engine.store.layout.home / "logs", limits)
            book = Book(happenings, Records(engine.store.database))
            sandboxes = Sandboxes(engines, logs, book, HostGroups(engine.store.layout.home), starts)
            stack.callback(happenings.close)
            stack.push_async_callback(sandboxes.lives.leave)
            await sandboxes.lives.find()
            async with background(pool.run()):  # which ends before any engine is closed
                yield sandboxes

    # looking

    def all(self) -> list[SandboxRecord]:
        """Every record, the oldest first."""
        return self.book.all()

    def get(self, text: str) -> SandboxRecord:
        """The sandbox of that name, id, or beginning of an id.

        Raises:
            NotFound, InvalidInput: there is none, or several.
        """
        return self.book.get(text)

    def life(self, text: str, *, paused: bool = False) -> Life:
        """The run under way.

        Args:
            text: its name, id, or the beginning of its id.
            paused: also one that is paused, whose guest answers nothing.

        Raises:
            NotFound: there is no such sandbox; Conflict: it does not run, or is paused.
        """
        record = self.get(text)
        life = self.lives.of(record)
        if life is None or life.ended.done():
            raise Conflict(
                f"sandbox {record.name} is not running",
                hint=f"it is {record.state.value}; see: monocore ps -a",
            )
        if not (paused or life.awake.is_set()):
            raise Conflict(f"sandbox {record.name} is paused", hint=f"monocore unpause {record.name}")
        return life

    # doing

    def create(self, order: SandboxOrder) -> SandboxRecord:
        """Write a new sandbox down. Nothing is pulled and nothing runs yet.

        Raises:
            Conflict: its name is in use.
        """
        identity = new_key()
        name = order.sandbox.name or identity
        record = SandboxRecord(identity, name, order, created=time.time())
        self.book.add(record)
        return record

    async def start(
        self,
        text: str,
        *,
        listener: Listener = ignore,
        prepare: Preparation = nothing_to_prepare,
        attach: Attach | None = None,
        origin: Origin | None = None,
    ) -> Life:
        """Start a sandbox, for the first time or again, and its command.

        Failure: it is ``exited`` with the reason ``start-failed`` (and gone, if it was to be removed), and the error is raised.
        Cancellation: as failure.

        Args:
            text: its name, id, or the beginning of its id.
            listener: receives the events of this start: a pull's progress, stages, warnings.
            prepare: called when the machine is set up, before the command.
            attach: called before the command's first output is taken, with what listens to it.
            origin: a captured machine that it goes on as, in place of a boot.

        Raises:
            Conflict: it runs already, or was ended by force meanwhile.
            NotFound, NothingFits, MachineError, CommandNotFound …: as starting a sandbox and a command says.
        """
        record = self.get(text)
        async with self.book.lock(record):
            record = self.book.now(record)
            if record.id not in self.book:
                raise NotFound(f"sandbox {record.name} was removed meanwhile")
            if record.state.live:
                raise Conflict(f"sandbox {record.name} is {record.state.value} already")
            record = evolve(
                record,
                state=SandboxState.STARTING,
                runs=record.runs + 1,
                known_as="",
                end=None,
                requested=False,
                stages=(),
            )
            self.book.save(record)
            try:
                work = self.lives.launch(record, listener, Beginning(prepare, origin), attach)
                return await self._launches.run(record, work)
            except BaseException as error:
                await asyncio.shield(self.lives.failed(record, error))
                raise

    async def wait(self, text: str) -> SandboxEnd:
        """How its run ended, when it has; at once for one that does not run.

        Raises:
            NotFound: there is no such sandbox; Conflict: it was never started.
        """
        record = self.get(text)
        life = self.lives.of(record)
        if life is not None:
            return await asyncio.shield(life.ended)
        async with self.book.lock(record):  # it may be starting
            record = self.book.now(record)
        life = self.lives.of(record)
        if life is not None:
            return await asyncio.shield(life.ended)
        if record.end is None:
            raise Conflict(f"sandbox {record.name} was not started", hint=f"monocore start {record.name}")
        return record.end

    async def rest(self, text: str) -> SandboxRecord:
        """Wait until nothing of its run is left on the host, and give its record; at once for one that does not run.

        Raises:
            NotFound: there is no such sandbox.
        """
        record = self.get(text)
        life = self.lives.of(record)
        if life is not None:
            await asyncio.shield(life.over)
        return self.book.now(record)

    def reorder(self, text: str, order: SandboxOrder) -> None:
        """Change what is asked of one, for what is still to come: labels, how it is stopped, the limits of time of its next run.

        What its machine and its command are made of does not change in one that runs.

        Raises:
            NotFound: there is no such sandbox.
        """
        record = self.get(text)
        life = self.lives.of(record)
        if life is not None:
            life.record = evolve(life.record, order=order)
        self.book.save(evolve(record, order=order))

    def complete(self, records: Sequence[SandboxRecord]) -> None:
        """Those that were to be there together are."""
        for life in filter(None, map(self.lives.of, records)):
            life.record = evolve(life.record, partial=False)
        self.book.save(*(evolve(self.book.now(record), partial=False) for record in records))

    async def stop(self, text: str, grace: float | None = None) -> SandboxEnd:
        """Stop it: its stop signal, then after ``grace`` seconds (None: its own) SIGKILL. A repeat, and one that does not run: no error.

        Returns when nothing of the run is left. One that is being started is stopped when it has been, or with a ``grace`` of 0 at once.

        Raises:
            NotFound: there is no such sandbox.
        """
        record = self.get(text)
        if grace == 0:
            await self._launches.give_up(record)
        async with self.book.lock(record):
            record = self.book.now(record)
        life = self.lives.of(record)
        if life is None:
            return record.end or SandboxEnd(0, EndReason.EXITED)
        order = record.order
        await life.stop(order.stop_grace if grace is None else grace, number=stop_signal(record))
        await asyncio.shield(life.over)
        return await asyncio.shield(life.ended)

    async def kill(self, text: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to its command. SIGKILL ends the sandbox, whatever its guest does, and a start under way.

        Raises:
            NotFound: there is no such sandbox; Conflict: it does not run, or has no command.
        """
        if number == signal.SIGKILL and await self._launches.give_up(self.get(text)):
            return
        life = self.life(text, paused=number == signal.SIGKILL)
        if number == signal.SIGKILL:
            await life.stop(0, number=signal.SIGKILL)
        else:
            await life.signal(number)

    async def remove(self, text: str, *, force: bool = False) -> None:
        """Forget a sandbox, with its log and its writable disk.

        Raises:
            NotFound: there is no such sandbox.
            Conflict: it runs, and ``force`` is not given, which ends it before, or its start.
        """
        record = self.get(text)
        if force and record.state.live:
            life = self.lives.of(record)
            if life is not None:
                await life.stop(0, number=signal.SIGKILL)
                await asyncio.shield(life.over)
            else:
                await self._launches.give_up(record)
        life = self.lives.of(record)
        if (
            life is not None and life.ended.done()
        ):  # whoever waited for its end was told; what is left of it goes in a moment
            await asyncio.shield(life.over)
        async with self.book.lock(record):
            record = self.book.now(record)
            if record.state.live and record.id in self.book:
                raise Conflict(
                    f"sandbox {record.name} is {record.state.value}",
                    hint=f"stop it first (monocore stop {record.name}), or: monocore rm -f {record.name}",
                )
            await self.lives.forget(record)

    async def exec(self, text: str, request: CommandRequest) -> GuestProcess:
        """Start a further process in a running sandbox. Its output is the caller's alone; who uses it says so (:meth:`Life.used`).

        Raises:
            NotFound, Conflict: there is no such sandbox, or it does not run.
            CommandNotFound, CommandNotExecutable, GuestError: as the agent says.
        """
        return await self.life(text).sandbox.exec(request)
