"""One ``up``: every service as soon as what it depends on lets it, and what fails holds up nothing but what depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from attrs import define, evolve, field, frozen

from monocore_core.errors import MonocoreError
from monocore_core.model.events import Listener
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.model.record import SandboxEnd
from monocore_core.model.sandbox import PullPolicy
from monocore_core.model.service import Condition, Dependency, Service, instance_name
from monocore_core.orchestrator.converge import Action, Existing, Step, converge
from monocore_core.orchestrator.crew import Crew
from monocore_core.orchestrator.events import ServiceEvent, Told, tell
from monocore_core.orchestrator.ledger import Entry
from monocore_core.orchestrator.orders import Made, desired, order_of
from monocore_core.orchestrator.restarting import failed
from monocore_core.orchestrator.secrets import Values, read_secrets
from monocore_core.orchestrator.supervisor import describe
from monocore_core.plan.service import config_hash


@frozen
class Ready:
    """A service that can be started: its image is in the store, its secrets were read."""

    made: Made
    values: Values


@define(eq=False)
class Rise:
    """Bring services of one project up. Use :meth:`run` once.

    Attributes:
        crew: does it.
        entry: what is written down of the project, the intent included.
        services: to be brought up, what they depend on included.
        told: receives what happens.
    """

    crew: Crew
    entry: Entry
    services: Sequence[Service]
    told: Told
    _outcomes: dict[str, asyncio.Future[str]] = field(factory=dict[str, "asyncio.Future[str]"], init=False)
    _images: dict[tuple[str, Platform, PullPolicy], asyncio.Task[Image]] = field(
        factory=dict[tuple[str, Platform, PullPolicy], "asyncio.Task[Image]"], init=False
    )

    async def run(self) -> tuple[str, ...]:
        """Bring them up; gives what failed, a sentence each. Cancellation: what runs goes on, and nothing is half started."""
        loop = asyncio.get_running_loop()
        self._outcomes = {service.name: loop.create_future() for service in self.services}
        try:
            async with asyncio.TaskGroup() as group:
                for service in self.services:
                    group.create_task(self._bring(service))
        finally:
            for task in self._images.values():
                task.cancel()
            await asyncio.gather(*self._images.values(), return_exceptions=True)
        return tuple(text for outcome in self._outcomes.values() if (text := outcome.result()))

    async def _bring(self, service: Service) -> None:
        try:
            problem = await self._converge(service)
        except MonocoreError as error:
            problem = _of(service, error.brief)
        if problem:
            self._tell("service-failed", service, text=problem)
        self._outcomes[service.name].set_result(problem)

    async def _converge(self, service: Service) -> str:
        """What is wrong, a sentence, or ""."""
        preparing = asyncio.create_task(self._prepare(service))
        try:
            for dependency in service.depends_on:
                if why := await self._wait_for(dependency):
                    return _of(service, f"it is not started, since it depends on {dependency}: {why}")
            ready = await preparing
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
        problems = await asyncio.gather(
            *(self._take(service, ready, step) for step in self._steps(service, ready))
        )
        return next((problem for problem in problems if problem), "")

    def _steps(self, service: Service, ready: Ready) -> tuple[Step, ...]:
        intent = self.entry.intent
        project = self.entry.project
        return converge(
            desired(project, service, ready.made),
            [one for one in self.crew.existing(project.name) if one.labels.service == service.name],
            recreate=intent.since if intent is not None and intent.recreate else None,
            afresh=intent.since if intent is not None and service.name in intent.afresh else None,
        )

    async def _prepare(self, service: Service) -> Ready:
        image, values = await asyncio.gather(
            self._image(service), read_secrets(service, self.crew.environ(self.entry.project.name))
        )
        digest = config_hash(service, values.digests(self.crew.key))
        ready = Ready(Made(digest, str(image.digest)), values)
        order_of(self.entry.project, service, 1, ready.made, self.entry.settings)  # what cannot be, shows now
        return ready

    async def _image(self, service: Service) -> Image:
        """Its image, asked for once, however many services have it."""
        key = (service.image, service.platform, service.pull)
        if key not in self._images:
            self._images[key] = asyncio.create_task(self._pull(*key))
        return await asyncio.shield(self._images[key])

    async def _pull(self, image: str, platform: Platform, policy: PullPolicy) -> Image:
        engine = await self.crew.sandboxes.engines.of(self.entry.settings)
        return await engine.heard_by(self.told).image(image, platform, policy)

    async def _wait_for(self, dependency: Dependency) -> str:
        """Why a dependency does not let anybody start, or ""."""
        outcome = self._outcomes.get(dependency.service)
        service = self.entry.service(dependency.service)
        if service is None:
            return "it is not defined"
        if outcome is not None and (problem := await asyncio.shield(outcome)):
            return problem
        if dependency.condition is Condition.STARTED or (
            dependency.condition is Condition.HEALTHY and service.healthcheck is None
        ):
            return ""
        names = [
            instance_name(self.entry.project.name, service.name, replica)
            for replica in range(1, service.replicas + 1)
        ]
        reasons = await asyncio.gather(*(self._until(name, dependency.condition) for name in names))
        return next((reason for reason in reasons if reason), "")

    async def _until(self, name: str, condition: Condition) -> str:
        found = next((one for one in self.crew.existing(self.entry.project.name) if one.name == name), None)
        if found is None:
            return f"there is no {name}"
        supervisor = self.crew.supervisor(found.id)
        if supervisor is not None:
            return await supervisor.until(condition) or ""
        end = self.crew.sandboxes.get(found.id).end
        if condition is Condition.COMPLETED and end is not None and not failed(end):
            return ""
        return f"it does not run{_how(end)}"

    async def _take(self, service: Service, ready: Ready, step: Step) -> str:
        """One step for one instance; what is wrong, a sentence, or ""."""
        try:
            await self._act(service, ready, step)
        except MonocoreError as error:
            return _of(service, error.brief if step.name in error.brief else f"{step.name}: {error.brief}")
        return ""

    async def _act(self, service: Service, ready: Ready, step: Step) -> None:
        found = step.existing
        if step.action is Action.KEEP and found is not None:
            self._keep(service, ready, found)
            self._tell("service-kept", service, found.name, found.id, step.why)
            return
        if found is not None and step.action in (Action.REPLACE, Action.REMOVE):
            await self.crew.halt(found.id, service.stop_grace)
            await self.crew.remove(found.id)
            kind = "service-replaced" if step.action is Action.REPLACE else "service-removed"
            self._tell(kind, service, found.name, found.id, step.why)
        wanted = step.desired
        if wanted is None:
            return
        order = order_of(self.entry.project, service, wanted.replica, ready.made, self.entry.settings)
        if step.action is Action.START and found is not None:
            await self.crew.halt(found.id, 0)  # it may be waiting for a restart
            self.crew.sandboxes.reorder(found.id, order)
            record = self.crew.sandboxes.get(found.id)
        else:
            record = self.crew.sandboxes.create(order)
        self._tell("service-starting", service, record.name, record.id)
        listener: Listener = self.told
        await self.crew.launch(service, record, ready.values, listener)
        self._tell("service-started", service, record.name, record.id)

    def _keep(self, service: Service, ready: Ready, found: Existing) -> None:
        """What changes without a replacement: how it is supervised, how it is stopped, its labels."""
        record = self.crew.sandboxes.get(found.id)
        order = order_of(self.entry.project, service, found.labels.replica, ready.made, self.entry.settings)
        if order != record.order:
            self.crew.sandboxes.reorder(found.id, evolve(order, settings=record.order.settings))
        supervisor = self.crew.supervisor(found.id)
        if supervisor is not None and (supervisor.active or not found.live):
            supervisor.serve(service)
        else:
            self.crew.watch(service, self.crew.sandboxes.get(found.id))

    def _tell(
        self, kind: str, service: Service, instance: str = "", sandbox: str = "", text: str = ""
    ) -> None:
        event = ServiceEvent(kind, self.entry.project.name, service.name, instance, sandbox, text)
        tell(self.crew.sandboxes.book.happenings, event)
        self.told(event)


def _of(service: Service, text: str) -> str:
    beginning = f"service {service.name!r}"
    return text if text.startswith(beginning) else f"{beginning}: {text}"


def _how(end: SandboxEnd | None) -> str:
    return f": {describe(end)}" if end is not None else ""
