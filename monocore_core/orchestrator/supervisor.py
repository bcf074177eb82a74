"""One instance of a service, from the start of its run to an end that is left as it is.

A supervisor has one task. While the instance runs, the task waits for its end, beside one that probes its health; when it has ended,
the task starts it again, or settles the end and is over. What a person does to the sandbox meanwhile shows in its record,
and is respected. :meth:`Supervisor.leave` ends the task, never the sandbox.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from attrs import define, field, frozen

from monocore_core.errors import Conflict, MonocoreError, NotFound
from monocore_core.model.health import Healthcheck
from monocore_core.model.record import EndReason, SandboxEnd, SandboxRecord
from monocore_core.model.service import Condition, Service
from monocore_core.orchestrator.events import ServiceEvent
from monocore_core.orchestrator.health import Health, HealthState
from monocore_core.orchestrator.ledger import Ledger
from monocore_core.orchestrator.probing import probe
from monocore_core.orchestrator.restarting import failed, judge, may_restart
from monocore_core.runtime.life import Life
from monocore_core.runtime.lives import stop_signal
from monocore_core.runtime.sandboxes import Sandboxes

#: Restarts that those who wait for an instance see, before they are told that it keeps failing.
PATIENCE = 3
#: Starts a sandbox, with what its service is given.
Starter = Callable[[Service, str], Awaitable[Life]]


@frozen
class Place:
    """Where a supervisor works.

    Attributes:
        sandboxes: that it watches one of.
        ledger: where restarts are counted.
        start: how its sandbox is started.
        tell: receives what happens.
    """

    sandboxes: Sandboxes
    ledger: Ledger
    start: Starter
    tell: Callable[[ServiceEvent], None]


@define(eq=False)
class Supervisor:
    """Watches one instance. Made for one that runs, or whose end is not settled yet; :meth:`begin` starts its task.

    Attributes:
        project: name.
        service: what it is an instance of, as it is to be supervised now.
        sandbox: id.
        name: of the sandbox.
        health: of the run under way.
        restarting_at: when it is started again, seconds since the epoch, or 0.
    """

    place: Place
    project: str
    service: Service
    sandbox: str
    name: str
    health: HealthState = field(default=HealthState.NONE, init=False)
    why: str = field(default="", init=False)
    restarting_at: float = field(default=0.0, init=False)
    _restarts: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)
    _news: asyncio.Event = field(factory=asyncio.Event, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _prober: asyncio.Task[None] | None = field(default=None, init=False)

    def begin(self, *, start: bool = False) -> None:
        """Watch from now on; ``start``: start it before."""
        self.health = HealthState.STARTING if self._check else HealthState.NONE
        self._task = asyncio.create_task(self._lead(start), name=f"supervisor-{self.name}")

    def settle(self) -> None:
        """It does not run, and is left as it is."""
        self._over = True

    @property
    def active(self) -> bool:
        """Whether it watches, and has not left the instance as it is."""
        return self._task is not None and not self._task.done()

    def serve(self, service: Service) -> None:
        """Go on by another configuration of the service: its policies and its health check, from now on."""
        before, self.service = self.service, service
        if service.healthcheck != before.healthcheck and self._prober is not None:
            self._prober.cancel()
            self._prober = None
            self._probe_if_running()

    async def leave(self) -> None:
        """Watch no more; what runs goes on, what is being started is given up. A repeat does nothing."""
        for task in (self._task, self._prober):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._over = True
        self._changed()

    async def until(self, condition: Condition) -> str | None:
        """Wait until a condition holds; gives why it will not, a sentence, or None. Sees at most :data:`PATIENCE` restarts."""
        limit = self._restarts + PATIENCE
        while True:
            news = self._news
            verdict = self._verdict(condition, limit)
            if verdict is not None:
                return verdict or None
            await news.wait()

    def _verdict(self, condition: Condition, limit: int) -> str | None:
        """What :meth:`until` gives, "" when the condition holds; None while it may yet."""
        record = self._record()
        end = record.end if record is not None else None
        if condition is Condition.COMPLETED:
            if end is not None and not failed(end):
                return ""
        elif self.health is HealthState.UNHEALTHY:
            return f"it is unhealthy: {self.why}"
        elif record is not None and record.state.live and end is None and self._good(condition):
            return ""
        if self._over:
            return f"it has ended: {describe(end)}" if end is not None else "it was stopped"
        if self._restarts >= limit:
            return f"it keeps failing: {describe(end)}" if end is not None else "it keeps failing"
        return None

    def _good(self, condition: Condition) -> bool:
        return condition is Condition.STARTED or self.health is not HealthState.STARTING

    def _record(self) -> SandboxRecord | None:
        try:
            return self.place.sandboxes.get(self.sandbox)
        except NotFound:
            return None

    @property
    def _check(self) -> Healthcheck | None:
        return self.service.healthcheck

    async def _lead(self, start: bool) -> None:
        try:
            if start:
                await self._start()
            while await self._again(await self._run()):
                pass
        except NotFound:  # somebody removed it
            pass
        finally:
            self._over = True
            self.restarting_at = 0.0
            self._changed()

    async def _run(self) -> SandboxEnd:
        """Wait for the end of the run, probing meanwhile, and until nothing of it is left."""
        self._probe_if_running()
        try:
            end = await self.place.sandboxes.wait(self.sandbox)
        finally:
            if self._prober is not None:
                self._prober.cancel()
                await asyncio.gather(self._prober, return_exceptions=True)
                self._prober = None
            if self.health is not HealthState.UNHEALTHY:
                self.health = HealthState.NONE
        self._changed()
        await self.place.sandboxes.rest(self.sandbox)
        return end

    async def _again(self, end: SandboxEnd) -> bool:
        """Answer an end: start it again, or leave it. Whether there is another end to wait for."""
        record = self.place.sandboxes.get(self.sandbox)
        count = self.place.ledger.count(self.sandbox)
        verdict = judge(self.service.restart, record, end, count, random.random())  # noqa: S311 - jitter
        if not verdict.restart:
            self.place.ledger.save_count(self.sandbox, verdict.count)
            kind = "service-failed" if failed(end) and not record.requested else "service-completed"
            kind = "service-stopped" if record.requested else kind
            self._tell(kind, f"{describe(end)}; {verdict.why}", code=end.code, reason=end.reason.value)
            return False
        self.restarting_at = time.time() + verdict.delay
        self._restarts += 1
        self._tell(
            "service-restarting",
            f"{describe(end)}; again in {verdict.delay:.1f} s",
            code=end.code,
            reason=end.reason.value,
            delay=round(verdict.delay, 3),
            restarts=verdict.count.total,
        )
        self._changed()
        await asyncio.sleep(verdict.delay)
        self.place.ledger.save_count(self.sandbox, verdict.count)
        self.restarting_at = 0.0
        await self._start()
        return True

    async def _start(self) -> None:
        self.health = HealthState.STARTING if self._check else HealthState.NONE
        try:
            await self.place.start(self.service, self.sandbox)
        except NotFound:
            self.place.sandboxes.get(self.sandbox)  # raises when it is the sandbox that is gone
            self._changed()
        except Conflict:  # somebody started it meanwhile
            self._changed()
        except MonocoreError:
            self._changed()  # it is in its record, and the next end to judge
        else:
            self._tell("service-started")
            self._changed()

    def _probe_if_running(self) -> None:
        check = self._check
        if check is None:
            self.health = HealthState.NONE
            return
        try:
            life = self.place.sandboxes.life(self.sandbox, paused=True)
        except MonocoreError:
            return
        self.health = HealthState.STARTING
        self._prober = asyncio.create_task(self._probe(life, check), name=f"health-{self.name}")

    async def _probe(self, life: Life, check: Healthcheck) -> None:
        began = life.record.started or time.time()
        health = Health()
        while not life.ended.done():
            await life.awake.wait()  # paused, it would answer nothing
            if life.ended.done():
                return
            problem = await probe(life.sandbox, self.service, check)
            if life.ended.done():
                return
            before, health = health, health.after(check, problem, time.time() - began)
            self.why = health.why
            if health.state is not before.state:
                self.health = health.state
                self._tell(f"service-{health.state}", health.why)
                self._changed()
                if health.state is HealthState.UNHEALTHY and await self._give_up(life):
                    return
            await asyncio.sleep(health.pause(check, time.time() - began))

    async def _give_up(self, life: Life) -> bool:
        """Stop what is unhealthy, when it would be started again; whether it was."""
        policy = self.service.restart
        if not policy.unhealthy or not may_restart(policy, self.place.ledger.count(self.sandbox)):
            return False
        await life.stop(
            self.service.stop_grace,
            number=stop_signal(life.record),
            reason=EndReason.UNHEALTHY,
            requested=False,
        )
        return True

    def _tell(self, kind: str, text: str = "", **facts: object) -> None:
        event = ServiceEvent(kind, self.project, self.service.name, self.name, self.sandbox, text, facts)
        self.place.tell(event)

    def _changed(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def describe(end: SandboxEnd) -> str:
    """How a run ended, a part of a sentence."""
    if end.detail:
        return f"{end.detail} (exit status {end.code})"
    if end.reason is EndReason.EXITED:
        return f"exit status {end.code}"
    return f"{end.reason.value}, exit status {end.code}"
