"""The runs under way: begun, found again after a daemon that is gone, and what is left of each when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

from attrs import define, evolve, field

from monocore_core.engine import Engine
from monocore_core.errors import MonocoreError
from monocore_core.logs import LogStore
from monocore_core.metrics.starts import Starts
from monocore_core.model.events import Listener
from monocore_core.model.record import SandboxEnd, SandboxRecord, SandboxState
from monocore_core.plan.choose import Plan
from monocore_core.runtime.begin import Beginning, Run, failed, find, launch, over, plan_of
from monocore_core.runtime.book import Book
from monocore_core.runtime.engines import Engines
from monocore_core.runtime.hostlimits import HostGroups
from monocore_core.runtime.life import Life, keeps_folder
from monocore_core.runtime.output import Listening, Output

log = logging.getLogger("monocore.runtime")
#: Machines that are looked for at once.
FINDERS = 8
#: Seconds for what is left of a run, which takes a fraction of one.
_SETTLING = 5.0
#: Called with a run before any of its output is taken, with what listens to it.
Attach = Callable[[Life, Listening], None]


@define(eq=False)
class Lives:
    """The runs of one home's sandboxes.

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
    starts: Starts
    _lives: dict[str, Life] = field(factory=dict[str, Life], init=False)
    _removals: set[asyncio.Task[None]] = field(factory=set[asyncio.Task[None]], init=False)

    def of(self, record: SandboxRecord) -> Life | None:
        """The run of a sandbox that is under way, or of which something is left."""
        return self._lives.get(record.id)

    async def launch(
        self, record: SandboxRecord, listener: Listener, beginning: Beginning, attach: Attach | None
    ) -> Life:
        """Begin one.

        Args:
            record: of the sandbox, which is starting.
            listener: receives the events of this start.
            beginning: how.
            attach: called before any output is taken.

        Raises:
            NotFound, NothingFits, MachineError, CommandNotFound …: as starting a sandbox and a command says.
        """
        engine = (await self.engines.of(record.order.settings)).heard_by(listener)
        run, record = await launch(engine, record, self.logs, self.groups, beginning)
        life = self._life(record, run)
        if attach is not None:
            attach(life, _listening(run.output))
        self.book.save(record)
        self._lives[record.id] = life
        life.begin()
        facts = {
            "pid": record.pid,
            "began": record.began,
            "began_reason": record.began_reason,
            "stages": dict(record.stages),
        }
        self.book.tell(record, "started", facts)
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

    async def settle(self) -> None:
        """Wait, for a moment at most, for what is left of runs whose end was told, and until those that are to be removed are.

        Whoever waited for an end and then asks for what the sandbox used finds it free.
        """
        if left := [life.over for life in self._lives.values() if life.ended.done()]:
            await asyncio.wait(left, timeout=_SETTLING)
        if self._removals:
            await asyncio.wait(list(self._removals), timeout=_SETTLING)

    async def _remove_ended(self, record: SandboxRecord) -> None:
        async with self.book.lock(record):
            if record.id in self.book and not self.book.now(record).state.live:
                await self.forget(record)

    async def failed(self, record: SandboxRecord, error: BaseException) -> None:
        """A start has failed: nothing runs, and the record says why."""
        self.starts.failed(type(error).__name__)
        record = failed(self.book.now(record), error)
        if not keeps_folder(record):
            await self._remove_folder(record)
        self.book.save(record)
        self.book.tell_exit(record)
        if record.order.remove:
            await self.forget(record)

    async def forget(self, record: SandboxRecord) -> None:
        """Remove everything of a sandbox that does not run."""
        await self._remove_folder(record)
        await asyncio.to_thread(self.logs.remove, record.id)
        await asyncio.to_thread((await self.engines.base()).store.checkpoints.remove_all, record.id)
        self.book.remove(record)

    async def _remove_folder(self, record: SandboxRecord) -> None:
        engine = await self.engines.base()
        await asyncio.to_thread(engine.store.remove_sandbox_directory, record.id)

    async def find(self) -> None:
        """Compare what is written down with the world, and go on with what runs."""
        records = self.book.read()
        engine = await self.engines.base()
        for record in records:
            # one that cannot be discarded is found, or written off, as any other
            if record.partial and await _discarded(engine, record.id, plan_of(record)):
                await self.forget(record)
        for lease in engine.store.leases():
            if lease.owner is None and lease.key not in self.book:
                await _discarded(engine, lease.key)
        await engine.backends.recover()
        gate = asyncio.Semaphore(FINDERS)

        async def find_one(record: SandboxRecord) -> None:
            async with gate:
                await self.resume(record)

        live = [record for record in self.book.all() if record.state.live]
        await asyncio.gather(*(find_one(record) for record in live))
        await asyncio.to_thread(self.groups.sweep, frozenset(self._lives))
        await asyncio.to_thread(engine.store.checkpoints.sweep, self.book.records.ids())
        for record in self.book.all():
            if record.order.remove and not record.state.live and record.runs:
                await self.forget(record)

    async def resume(self, record: SandboxRecord) -> None:
        """Go on with a run that a record says is under way; or write down how it ended, and remove what is left."""
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

    async def leave(self) -> None:
        """Let what can outlive this process run on; end the rest."""
        for life in list(self._lives.values()):
            if not life.run.engine.backends.adoptable(life.sandbox.plan.vmm):
                await life.stop(
                    life.record.order.stop_grace, number=stop_signal(life.record), requested=False
                )
                await asyncio.shield(life.over)
        await asyncio.gather(*self._removals)
        await asyncio.gather(*(life.leave() for life in list(self._lives.values())))


async def _discarded(engine: Engine, key: str, plan: Plan | None = None) -> bool:
    """Whether everything of a key could be removed. What cannot be keeps nobody from the rest, and is logged."""
    try:
        await engine.discard(key, plan)
    except MonocoreError as error:
        log.warning("what is left of sandbox %s cannot be removed: %s", key, error.brief)
        return False
    return True


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
