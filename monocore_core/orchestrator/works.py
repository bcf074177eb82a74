"""What the operations on a project do, once it is their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from attrs import evolve, frozen

from monocore_core.errors import ServicesFailed
from monocore_core.model.record import SettingsSource
from monocore_core.model.service import Condition, Project, Service
from monocore_core.orchestrator.converge import Existing, orphans
from monocore_core.orchestrator.crew import Crew
from monocore_core.orchestrator.events import ServiceEvent, Told, nobody, tell
from monocore_core.orchestrator.fall import Fall
from monocore_core.orchestrator.graph import active, choose, with_dependencies
from monocore_core.orchestrator.ledger import Entry, Intent, IntentKind
from monocore_core.orchestrator.rise import Rise


@frozen(eq=False)
class Works:
    """What is done with projects. Nobody does two things with one project at once: the orchestrator sees to it."""

    crew: Crew

    def announce(
        self,
        project: Project,
        names: tuple[str, ...],
        settings: SettingsSource,
        *,
        remove_orphans: bool,
        recreate: bool,
    ) -> None:
        """Write down what ``up`` is about to do."""
        before = self.crew.ledger.find(project.name) or Entry(project)
        everything = with_dependencies(project.services, names)
        afresh = tuple(name for name in everything if name not in before.wanted)
        gone = [
            service
            for service in (*before.project.services, *before.orphans)
            if project.service(service.name) is None
        ]
        present = {one.labels.service for one in self.crew.existing(project.name)}
        entry = Entry(
            project=project,
            wanted=before.wanted,
            orphans=tuple(service for service in gone if service.name in present),
            settings=settings,
            intent=Intent(IntentKind.UP, names, time.time(), recreate, remove_orphans, afresh),
        )
        self.crew.ledger.save(entry.wanting(*everything))

    async def rise(
        self, project: str, names: tuple[str, ...], told: Told, *, wait: bool = False, alone: bool = False
    ) -> None:
        """What ``up`` does, once it is written down."""
        entry = self.crew.ledger.get(project)
        services = active(entry.project, names if alone else with_dependencies(entry.project.services, names))
        failures = list(await self._tend_orphans(entry, told))
        failures += await Rise(self.crew, entry, services, told).run()
        if wait and not failures:
            failures += await self._until_healthy(project, services)
        self._tell("project-failed" if failures else "project-up", project, told, "; ".join(failures))
        if failures:
            raise self._partly(project, failures, len(services))

    async def _tend_orphans(self, entry: Entry, told: Told) -> tuple[str, ...]:
        project, intent = entry.project, entry.intent
        found = orphans(self.crew.existing(project.name), [one.name for one in project.services])
        found = tuple(one for one in found if one.labels.service not in project.inactive)
        if intent is None or not intent.remove_orphans:
            for one in found:
                text = "the project has this service no more; --remove-orphans removes it"
                told(
                    ServiceEvent("service-orphaned", project.name, one.labels.service, one.name, one.id, text)
                )
            return ()
        names = dict.fromkeys(one.labels.service for one in found)
        fall = Fall(self.crew, project.name, entry.orphans, told)
        problems = await fall.run(names)
        await self.remove(
            project.name,
            [
                one
                for one in orphans(self.crew.existing(project.name), [s.name for s in project.services])
                if one.labels.service in names and not one.live
            ],
            told,
            [],
        )
        self.crew.ledger.change(
            project.name,
            lambda now: evolve(now, orphans=tuple(one for one in now.orphans if one.name not in names)),
        )
        return problems

    async def _until_healthy(self, project: str, services: tuple[Service, ...]) -> list[str]:
        names = {service.name for service in services if service.healthcheck is not None}

        async def one(instance: Existing) -> str | None:
            supervisor = self.crew.supervisor(instance.id)
            why = await supervisor.until(Condition.HEALTHY) if supervisor is not None else None
            return why and f"service {instance.labels.service!r}: {instance.name}: {why}"

        waits = [one(found) for found in self.crew.existing(project) if found.labels.service in names]
        return [why for why in await asyncio.gather(*waits) if why]

    async def fall(
        self, project: str, names: tuple[str, ...], told: Told, *, grace: float | None = None
    ) -> None:
        """What ``down`` does, once it is written down."""
        fall = Fall(self.crew, project, self._services(project), told, grace=grace)
        failures = await fall.run(names)
        self._tell("project-failed" if failures else "project-down", project, told, "; ".join(failures))
        if failures:
            raise self._partly(project, list(failures), len(names))

    async def again(self, project: str, told: Told) -> None:
        """What ``restart`` does, once it is written down."""
        entry = self.crew.ledger.get(project)
        if entry.intent is None:
            return
        names = entry.intent.services
        fall = Fall(
            self.crew,
            project,
            self._services(project),
            told,
            unwanted=False,
            since=entry.intent.since,
            grace=entry.intent.grace,
        )
        if failures := await fall.run(names):
            raise self._partly(project, list(failures), len(names))
        await self.rise(project, names, told, alone=True)

    async def complete(self, project: str) -> None:
        """Complete what an earlier process left half done."""
        intent = self.crew.ledger.get(project).intent
        if intent is None:  # somebody has asked for something else meanwhile
            return
        if intent.kind is IntentKind.DOWN:
            await self.fall(project, intent.services, nobody)
        elif intent.kind is IntentKind.RESTART:
            await self.again(project, nobody)
        else:
            await self.rise(project, intent.services, nobody)

    async def remove(self, project: str, found: Collection[Existing], told: Told, removed: list[str]) -> None:
        """Remove instances that do not run; their names are added to ``removed``."""
        for one in found:
            await self.crew.remove(one.id)
            removed.append(one.name)
            event = ServiceEvent("service-removed", project, one.labels.service, one.name, one.id)
            tell(self.crew.sandboxes.book.happenings, event)
            told(event)

    def forget(self, project: str, names: Collection[str], *, everything: bool) -> None:
        """Of what was removed, nothing is wanted any more."""
        if self.crew.ledger.find(project) is None:
            return
        if everything:
            self.crew.ledger.forget(project)
            return
        self.crew.ledger.change(
            project,
            lambda entry: evolve(
                entry.not_wanting(*names),
                orphans=tuple(one for one in entry.orphans if one.name not in names),
            ),
        )

    def _services(self, project: str) -> tuple[Service, ...]:
        entry = self.crew.ledger.find(project)
        return (*entry.project.services, *entry.orphans) if entry is not None else ()

    def chosen(self, project: str, services: Collection[str] | None, group: str | None) -> tuple[str, ...]:
        """The services that are meant, those included of which there is nothing but sandboxes."""
        known = {service.name: service for service in self._services(project)}
        for one in self.crew.existing(project):
            labels = one.labels
            known.setdefault(labels.service, Service(labels.service, labels.image, group=labels.group))
        if not known:
            self.crew.ledger.get(project)
        return choose(tuple(known.values()), services, group)

    def _partly(self, project: str, failures: list[str], count: int) -> ServicesFailed:
        up = tuple(one.name for one in self.crew.existing(project) if one.live)
        running = f"running: {', '.join(up)}" if up else "nothing runs"
        what = f"{len(failures)} of {count} services" if count > 1 else "the service"
        return ServicesFailed(
            f"project {project!r}: {what} failed: {'; '.join(failures)} ({running})",
            failures=tuple(failures),
            up=up,
            hint="monocore status shows them; what failed is tried again by: monocore up",
        )

    def _tell(self, kind: str, project: str, told: Told, text: str = "") -> None:
        event = ServiceEvent(kind, project, text=text)
        tell(self.crew.sandboxes.book.happenings, event)
        told(event)
