"""The services of all projects of one home, and what can be done with them. See :mod:`monocore_core.orchestrator` for how it is built.

Worked example::

    project = load_project(Path("monocore.toml"), Reading(os.environ))
    async with Sandboxes.open(settings) as sandboxes, Orchestrator.open(sandboxes) as orchestrator:
        await orchestrator.up(project)                       # again: what is unchanged keeps running
        for service in orchestrator.status("shop").services:
            print(service.name, service.state)
        await orchestrator.down("shop")
        await orchestrator.remove("shop")

Operations on one project take turns, but for ``down``, which puts an end to one that is under way. On leaving, what runs goes on;
the next one to open the home watches it again, and completes what was interrupted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress

from attrs import define, evolve, field

from monocore_core.errors import Conflict, MonocoreError, NotFound
from monocore_core.model.record import SandboxRecord, SettingsSource
from monocore_core.model.service import Project
from monocore_core.orchestrator.crew import Crew
from monocore_core.orchestrator.events import ServiceEvent, Told, nobody, tell
from monocore_core.orchestrator.graph import choose, waves
from monocore_core.orchestrator.labels import labels_of
from monocore_core.orchestrator.ledger import Intent, IntentKind, Ledger
from monocore_core.orchestrator.resume import resume
from monocore_core.orchestrator.secrets import digest_key
from monocore_core.orchestrator.status import ProjectStatus, project_status
from monocore_core.orchestrator.works import Works
from monocore_core.runtime.sandboxes import Sandboxes

Work = Callable[[], Awaitable[None]]


@define(eq=False)
class Orchestrator:
    """The services of one home. Use :meth:`open`."""

    sandboxes: Sandboxes
    _crew: Crew
    _works: Works
    _locks: dict[str, asyncio.Lock] = field(factory=dict[str, asyncio.Lock], init=False)
    _running: dict[str, set[asyncio.Task[None]]] = field(
        factory=dict[str, "set[asyncio.Task[None]]"], init=False
    )
    _displaced: set[asyncio.Task[None]] = field(factory=set["asyncio.Task[None]"], init=False)
    _resuming: dict[str, asyncio.Task[None]] = field(factory=dict[str, "asyncio.Task[None]"], init=False)
    _closing: bool = field(default=False, init=False)

    @staticmethod
    @asynccontextmanager
    async def open(sandboxes: Sandboxes) -> AsyncGenerator[Orchestrator]:
        """Watch the services that run, answer the ends that nobody answered, and begin to complete what was interrupted.

        Raises:
            StorageError: the disk refuses.
        """
        engine = await sandboxes.engines.base()
        ledger = Ledger(engine.store.database)
        unreadable = ledger.read()
        crew = Crew(sandboxes, ledger, digest_key(engine.store.layout.home))
        orchestrator = Orchestrator(sandboxes, crew, Works(crew))
        for name in unreadable:
            event = ServiceEvent("project-failed", name, text="what is written down of it cannot be read")
            tell(sandboxes.book.happenings, event)
        follower = asyncio.create_task(orchestrator._follow(), name="orchestrator-follower")
        try:
            resume(crew)
            for name in ledger.names():
                if ledger.get(name).intent is not None:
                    orchestrator._resuming[name] = asyncio.create_task(
                        orchestrator._resume(name), name=f"resume-{name}"
                    )
            yield orchestrator
        finally:
            await orchestrator._close(follower)

    # looking

    def projects(self) -> tuple[str, ...]:
        """Names of all projects: those that were brought up here, and those of which there are sandboxes."""
        labelled = (labels_of(record.order.labels) for record in self.sandboxes.all())
        return tuple(
            sorted(
                {*self._crew.ledger.names(), *(labels.project for labels in labelled if labels is not None)}
            )
        )

    def status(self, project: str | None = None, group: str | None = None) -> tuple[ProjectStatus, ...]:
        """What is known of one project, or of all; ``group``: only of its members.

        Raises:
            NotFound: there is no such project.
        """
        if project is not None and project not in self.projects():
            self._crew.ledger.get(project)
        names = self.projects() if project is None else (project,)
        return tuple(project_status(name, self._crew.ledger.find(name), self._crew, group) for name in names)

    def instances(
        self, project: str, services: Collection[str] | None = None, group: str | None = None
    ) -> tuple[SandboxRecord, ...]:
        """The sandboxes of services, by service and number: for their logs, commands in them and figures.

        Raises:
            NotFound: there is no such project, service or group.
        """
        chosen = self._works.chosen(project, services, group)
        found = [one for one in self._crew.existing(project) if one.labels.service in chosen]
        found.sort(key=lambda one: (chosen.index(one.labels.service), one.labels.replica))
        return tuple(self.sandboxes.get(one.id) for one in found)

    def instance(self, project: str, service: str, replica: int = 1) -> SandboxRecord:
        """The sandbox of one instance.

        Raises:
            NotFound: there is none.
        """
        for record in self.instances(project, (service,)):
            labels = labels_of(record.order.labels)
            if labels is not None and labels.replica == replica:
                return record
        raise NotFound(f"service {service!r} of project {project!r} has no instance {replica}")

    async def settled(self, project: str) -> None:
        """Wait until what an earlier process left half done of a project is completed, or has failed. Raises nothing."""
        task = self._resuming.get(project)
        if task is not None:
            await asyncio.wait([task])

    # doing

    async def up(
        self,
        project: Project,
        *,
        services: Collection[str] | None = None,
        group: str | None = None,
        remove_orphans: bool = False,
        recreate: bool = False,
        wait: bool = False,
        environ: Mapping[str, str] | None = None,
        settings: SettingsSource | None = None,
        on_event: Told = nobody,
    ) -> ProjectStatus:
        """Bring services up, with what they depend on. Those that run and are unchanged keep running; changed ones are replaced.

        Failure of one service holds up those alone that depend on it. Cancellation: what runs goes on, nothing is half started.

        Args:
            project: as configured now.
            services: names of those to bring up; None: all, or the group's.
            group: bring up its members alone.
            remove_orphans: end and remove services that the project has no more.
            recreate: replace also those that are unchanged.
            wait: until every one of them is healthy.
            environ: variables from which secrets come; None: our own environment. Kept in memory alone.
            settings: where the sandboxes' settings come from; None: as everyone's.
            on_event: receives what happens.

        Raises:
            NotFound, InvalidInput: there is no such service or group, or they depend on one another in a circle.
            ServicesFailed: some are not up; it says which are.
            Conflict: ``down`` was asked for meanwhile.
        """
        names = choose(project.services, services, group)
        waves(project.services)
        source = settings or SettingsSource()

        async def work() -> None:
            if environ is not None:
                self._crew.equip(project.name, environ)
            self._works.announce(project, names, source, remove_orphans=remove_orphans, recreate=recreate)
            await self._works.rise(project.name, names, on_event, wait=wait)

        await self._operate(project.name, work)
        return self.status(project.name)[0]

    async def down(
        self,
        project: str,
        *,
        services: Collection[str] | None = None,
        group: str | None = None,
        grace: float | None = None,
        on_event: Told = nobody,
    ) -> ProjectStatus:
        """Stop services in the reverse order, gently, then by force. Their records, logs and disks stay. A repeat does nothing.

        An ``up`` that is under way is given up. Cancellation: what was not stopped yet runs on.

        Args:
            project: its name.
            services: names of those to stop; None: all, or the group's.
            group: stop its members alone.
            grace: seconds until one is ended by force; None: its own.
            on_event: receives what happens.

        Raises:
            NotFound, InvalidInput: there is no such project, service or group.
            ServicesFailed: some could not be stopped.
        """
        self._works.chosen(project, services, group)

        async def work() -> None:
            chosen = self._works.chosen(project, services, group)
            if self._crew.ledger.find(project) is not None:
                intent = Intent(IntentKind.DOWN, chosen, time.time())
                self._crew.ledger.change(project, lambda entry: evolve(entry, intent=intent))
            await self._works.fall(project, chosen, on_event, grace=grace)

        await self._operate(project, work, displacing=True)
        return self.status(project)[0]

    async def restart(
        self,
        project: str,
        *,
        services: Collection[str] | None = None,
        group: str | None = None,
        grace: float | None = None,
        on_event: Told = nobody,
    ) -> ProjectStatus:
        """Stop services and start them again, as the project was last brought up; others are left alone.

        Args:
            project: its name.
            services: names of those to restart; None: all, or the group's.
            group: restart its members alone.
            grace: seconds until one is ended by force; None: its own.
            on_event: receives what happens.

        Raises:
            NotFound, InvalidInput: there is no such project, service or group.
            ServicesFailed: some are not up again.
            Conflict: ``down`` was asked for meanwhile.
        """
        self._crew.ledger.get(project)

        async def work() -> None:
            entry = self._crew.ledger.get(project)
            names = choose(entry.project.services, services, group)
            intent = Intent(IntentKind.RESTART, names, time.time(), grace=grace)
            self._crew.ledger.save(evolve(entry.wanting(*names), intent=intent))
            await self._works.again(project, on_event)

        await self._operate(project, work)
        return self.status(project)[0]

    async def remove(
        self,
        project: str,
        *,
        services: Collection[str] | None = None,
        group: str | None = None,
        force: bool = False,
        on_event: Told = nobody,
    ) -> tuple[str, ...]:
        """Remove instances that do not run, with their records, logs and disks; gives their names. Named volumes stay.

        A project of which nothing is left is forgotten.

        Args:
            project: its name.
            services: names of those to remove; None: all, or the group's.
            group: remove its members alone.
            force: stop those that run before.
            on_event: receives what happens.

        Raises:
            NotFound, InvalidInput: there is no such project, service or group.
            Conflict: some run, and ``force`` is not given; then nothing is removed.
        """
        if force:
            await self.down(project, services=services, group=group, on_event=on_event)
        removed: list[str] = []

        async def work() -> None:
            chosen = self._works.chosen(project, services, group)
            found = [one for one in self._crew.existing(project) if one.labels.service in chosen]
            if live := [one.name for one in found if one.live]:
                raise Conflict(
                    f"project {project!r}: {', '.join(live)} run", hint="stop them first: monocore down"
                )
            await self._works.remove(project, found, on_event, removed)
            self._works.forget(project, chosen, everything=services is None and group is None)

        await self._operate(project, work)
        return tuple(removed)

    # inside

    async def _operate(self, project: str, work: Work, *, displacing: bool = False) -> None:
        """Do something with a project, one after the other; ``displacing``: what is under way is given up."""
        running = self._running.setdefault(project, set())
        if displacing:
            for other in running:
                self._displaced.add(other)
                other.cancel()
        task = asyncio.create_task(self._in_turn(project, work), name=f"project-{project}")
        running.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if task in self._displaced:
                raise Conflict(f"project {project!r} was taken down meanwhile") from None
            raise
        finally:
            running.discard(task)
            self._displaced.discard(task)

    async def _in_turn(self, project: str, work: Work) -> None:
        async with self._locks.setdefault(project, asyncio.Lock()):
            try:
                await work()
            finally:  # done, failed, or given up: the next process need not complete it
                entry = self._crew.ledger.find(project)
                if entry is not None and entry.intent is not None and not self._closing:
                    self._crew.ledger.save(evolve(entry, intent=None))

    async def _resume(self, project: str) -> None:
        """Complete what an earlier process left half done. What fails is told."""
        with suppress(MonocoreError):
            await self._operate(project, lambda: self._works.complete(project))

    async def _follow(self) -> None:
        """Watch instances that a person starts by themselves."""
        async for happening in self.sandboxes.book.happenings.follow():
            if happening.kind != "started":
                continue
            with suppress(MonocoreError):
                record = self.sandboxes.get(happening.sandbox)
                labels = labels_of(record.order.labels)
                entry = self._crew.ledger.find(labels.project) if labels is not None else None
                service = entry.service(labels.service) if entry is not None and labels is not None else None
                supervisor = self._crew.supervisor(record.id)
                if service is not None and record.state.live and not (supervisor and supervisor.active):
                    self._crew.watch(service, record)

    async def _close(self, follower: asyncio.Task[None]) -> None:
        """Leave everything as it is, for the next one."""
        self._closing = True
        operations = [task for tasks in self._running.values() for task in tasks]
        tasks = [follower, *self._resuming.values(), *operations]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._crew.leave()
