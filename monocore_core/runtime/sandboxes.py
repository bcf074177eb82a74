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
import contextlib
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define, evolve, field

from monocore_core.concurrency import background
from monocore_core.config.values import Settings
from monocore_core.engine import new_key
from monocore_core.errors import Conflict, MonocoreError, NotFound
from monocore_core.guest.client import GuestProcess
from monocore_core.logs import LogLimits, LogStore
from monocore_core.metrics.starts import Starts
from monocore_core.model.events import Began, Denied, Event, Listener, Stage, ignore
from monocore_core.model.record import EndReason, SandboxEnd, SandboxOrder, SandboxRecord, SandboxState
from monocore_core.model.sandbox import CommandRequest
from monocore_core.plugins import Plugins, discover
from monocore_core.pooling import Pool
from monocore_core.runtime.begin import (
    Preparation,
    Run,
    failed,
    find,
    launch,
    nothing_to_prepare,
    over,
    plan_of,
)
from monocore_core.runtime.book import Book
from monocore_core.runtime.engines import Engines
from monocore_core.runtime.happenings import Happenings
from monocore_core.runtime.hostlimits import HostGroups
from monocore_core.runtime.life import Life, keeps_folder
from monocore_core.runtime.output import Listening, Output
from monocore_core.store.records import Records

#: Machines that are looked for at once, when the runtime opens.
FINDERS = 8
#: Called with a run before any of its output is taken, with what listens to it.
Attach = Callable[[Life, Listening], None]


@define(eq=False)
class Sandboxes:
    """The sandboxes of one home. Use :meth:`open`.

    Attributes:
        engines: by settings.
        logs: of every sandbox, by its id.
        book: the records.
        groups: limits of their VMMs.
        starts: how long they took, and why they failed.
    """

    engines: Engines
    logs: LogStore
    book: Book
    groups: HostGroups
    starts: Starts = field(factory=Starts)
    _lives: dict[str, Life] = field(factory=dict[str, Life], init=False)
    _removals: set[asyncio.Task[None]] = field(factory=set[asyncio.Task[None]], init=False)

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
            teller = _teller(happenings, starts)
            pool = Pool(settings.pool, teller)
            engines = Engines(settings, plugins or discover(), teller, stack, pool)
            engine = await engines.base()
            limits = LogLimits() if log_limits is None else log_limits
            logs = LogStore(engine.store.layout.home / "logs", limits)
            book = Book(happenings, Records(engine.store.database))
            sandboxes = Sandboxes(engines, logs, book, HostGroups(engine.store.layout.home), starts)
            stack.callback(happenings.close)
            stack.push_async_callback(sandboxes._leave)
            await sandboxes._find()
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
        life = self._lives.get(record.id)
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
    ) -> Life:
        """Start a sandbox, for the first time or again, and its command.

        Failure: it is ``exited`` with the reason ``start-failed`` (and gone, if it was to be removed), and the error is raised.
        Cancellation: as failure.

        Args:
            text: its name, id, or the beginning of its id.
            listener: receives the events of this start: a pull's progress, stages, warnings.
            prepare: called when the machine is set up, before the command.
            attach: called before the command's first output is taken, with what listens to it.

        Raises:
            Conflict: it runs already.
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
                end=None,
                requested=False,
                stages=(),
            )
            self.book.save(record)
            try:
                return await self._launch(record, listener, prepare, attach)
            except BaseException as error:
                await asyncio.shield(self._failed(record, error))
                raise

    async def wait(self, text: str) -> SandboxEnd:
        """How its run ended, when it has; at once for one that does not run.

        Raises:
            NotFound: there is no such sandbox; Conflict: it was never started.
        """
        record = self.get(text)
        life = self._lives.get(record.id)
        if life is not None:
            return await asyncio.shield(life.ended)
        async with self.book.lock(record):  # it may be starting
            record = self.book.now(record)
        life = self._lives.get(record.id)
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
        life = self._lives.get(record.id)
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
        life = self._lives.get(record.id)
        if life is not None:
            life.record = evolve(life.record, order=order)
        self.book.save(evolve(record, order=order))

    async def stop(self, text: str, grace: float | None = None) -> SandboxEnd:
        """Stop it: its stop signal, then after ``grace`` seconds (None: its own) SIGKILL. A repeat, and one that does not run: no error.

        Returns when nothing of the run is left.

        Raises:
            NotFound: there is no such sandbox.
        """
        record = self.get(text)
        async with self.book.lock(record):
            record = self.book.now(record)
        life = self._lives.get(record.id)
        if life is None:
            return record.end or SandboxEnd(0, EndReason.EXITED)
        order = record.order
        await life.stop(order.stop_grace if grace is None else grace, number=stop_signal(record))
        await asyncio.shield(life.over)
        return await asyncio.shield(life.ended)

    async def kill(self, text: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to its command. SIGKILL ends the sandbox, whatever its guest does.

        Raises:
            NotFound: there is no such sandbox; Conflict: it does not run, or has no command.
        """
        life = self.life(text, paused=number == signal.SIGKILL)
        if number == signal.SIGKILL:
            await life.stop(0, number=signal.SIGKILL)
        else:
            await life.signal(number)

    async def remove(self, text: str, *, force: bool = False) -> None:
        """Forget a sandbox, with its log and its writable disk.

        Raises:
            NotFound: there is no such sandbox.
            Conflict: it runs, and ``force`` is not given, which ends it before.
        """
        record = self.get(text)
        if force and record.state.live:
            life = self._lives.get(record.id)
            if life is not None:
                await life.stop(0, number=signal.SIGKILL)
                await asyncio.shield(life.over)
        life = self._lives.get(record.id)
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
            await self._forget(record)

    async def exec(self, text: str, request: CommandRequest) -> GuestProcess:
        """Start a further process in a running sandbox. Its output is the caller's alone; who uses it says so (:meth:`Life.used`).

        Raises:
            NotFound, Conflict: there is no such sandbox, or it does not run.
            CommandNotFound, CommandNotExecutable, GuestError: as the agent says.
        """
        return await self.life(text).sandbox.exec(request)

    # inside

    async def _launch(
        self, record: SandboxRecord, listener: Listener, prepare: Preparation, attach: Attach | None
    ) -> Life:
        engine = (await self.engines.of(record.order.settings)).heard_by(listener)
        run, record = await launch(engine, record, self.logs, self.groups, prepare)
        life = self._life(record, run)
        if attach is not None:
            attach(life, _listening(run.output))
        self.book.save(record)
        self._lives[record.id] = life
        life.begin()
        self.book.tell(
            record, "started", {"pid": record.pid, "began": record.began, "stages": dict(record.stages)}
        )
        return life

    def _life(self, record: SandboxRecord, run: Run) -> Life:
        life = Life(record, run, self.book)
        life.over.add_done_callback(lambda over: self._ended(record.id, cancelled=over.cancelled()))
        return life

    def _ended(self, identity: str, *, cancelled: bool) -> None:
        """A run is over, and nothing of it is left."""
        self._lives.pop(identity, None)
        if identity in self.book and (end := self.book.get(identity).end) is not None:
            self.starts.ended(end.reason.value)
        if cancelled or identity not in self.book or not self.book.get(identity).order.remove:
            return
        record = self.book.get(identity)
        task = asyncio.create_task(self._remove_ended(record))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _remove_ended(self, record: SandboxRecord) -> None:
        async with self.book.lock(record):
            if record.id in self.book and not self.book.now(record).state.live:
                await self._forget(record)

    async def _failed(self, record: SandboxRecord, error: BaseException) -> None:
        """A start has failed: nothing runs, and the record says why."""
        self.starts.failed(type(error).__name__)
        record = failed(self.book.now(record), error)
        if not keeps_folder(record):
            await self._remove_folder(record)
        self.book.save(record)
        self.book.tell_exit(record)
        if record.order.remove:
            await self._forget(record)

    async def _forget(self, record: SandboxRecord) -> None:
        await self._remove_folder(record)
        await asyncio.to_thread(self.logs.remove, record.id)
        self.book.remove(record)

    async def _remove_folder(self, record: SandboxRecord) -> None:
        engine = await self.engines.base()
        await asyncio.to_thread(engine.store.remove_sandbox_directory, record.id)

    async def _find(self) -> None:
        """Compare what is written down with the world, and go on with what runs."""
        records = self.book.read()
        engine = await self.engines.base()
        for lease in engine.store.leases():
            if lease.owner is None and lease.key not in self.book:
                await engine.discard(lease.key)
        gate = asyncio.Semaphore(FINDERS)

        async def find_one(record: SandboxRecord) -> None:
            async with gate:
                await self._resume(record)

        live = [record for record in records if record.state.live]
        await asyncio.gather(*(find_one(record) for record in live))
        await asyncio.to_thread(self.groups.sweep, frozenset(self._lives))
        for record in self.book.all():
            if record.order.remove and not record.state.live and record.runs:
                await self._forget(record)

    async def _resume(self, record: SandboxRecord) -> None:
        try:
            engine = await self.engines.of(record.order.settings)
        except MonocoreError:  # the file that it was started with is gone: then with what everyone has
            engine = await self.engines.base()
        found = await find(engine, record, self.logs, self.groups)
        if isinstance(found, SandboxEnd):
            with contextlib.suppress(MonocoreError):
                await engine.discard(record.id, plan_of(record), folder=not keeps_folder(record))
            record = over(record, record.end or found)  # an end that was written down is how it ended
            self.book.save(record)
            self.book.tell_exit(record)
            return
        life = self._life(record, found)
        self._lives[record.id] = life
        if record.end is not None:  # its command had ended; only its machine was left
            life.ended.set_result(record.end)
            await life.finish()
            return
        paused = record.state is SandboxState.PAUSED
        if paused:
            life.record = evolve(record, state=SandboxState.RUNNING)  # as it is now: see Assembly.adopt
            self.book.save(life.record)
        life.begin()
        self.book.tell(record, "found", {"pid": record.pid})
        if paused:
            with contextlib.suppress(MonocoreError):  # it has just ended: its life says so
                await life.pause()

    async def _leave(self) -> None:
        """Let what can outlive this process run on; end the rest."""
        for life in list(self._lives.values()):
            if not life.run.engine.backends.adoptable(life.sandbox.plan.vmm):
                await life.stop(
                    life.record.order.stop_grace, number=stop_signal(life.record), requested=False
                )
                await asyncio.shield(life.over)
        await asyncio.gather(*self._removals)
        await asyncio.gather(*(life.leave() for life in list(self._lives.values())))


def stop_signal(record: SandboxRecord) -> int:
    """The number of the signal that its command is stopped with."""
    if record.order.stop_signal:
        return record.order.stop_signal
    said = record.image.config.stop_signal if record.image is not None else ""
    if said.isdecimal() and 1 <= int(said) <= 64:
        return int(said)
    name = said.upper() if said.upper().startswith("SIG") else f"SIG{said.upper()}"
    return int(getattr(signal.Signals, name, signal.SIGTERM))


def _listening(output: Output | None) -> Listening:
    if output is not None:
        return output.listen()
    nothing = Listening()
    nothing.finish()
    return nothing


def _teller(happenings: Happenings, starts: Starts) -> Listener:
    def listen(event: Event) -> None:
        if isinstance(event, Stage):
            starts.observe(event.name, event.took)
        elif isinstance(event, Began):
            starts.begun[event.how] += 1
        if isinstance(event, Denied):
            refusal = event.refusal
            facts = {
                "destination": refusal.destination,
                "protocol": refusal.protocol,
                "port": refusal.port,
                "rule": refusal.rule,
                "count": refusal.count,
            }
            happenings.tell("denied", event.sandbox, facts=facts)

    return listen
