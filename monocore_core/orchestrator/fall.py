"""One ``down``: every service as soon as nothing that depends on it runs any more; gently, then by force."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from attrs import define, field

from monocore_core.errors import MonocoreError
from monocore_core.model.service import Service
from monocore_core.orchestrator.converge import Existing
from monocore_core.orchestrator.crew import Crew
from monocore_core.orchestrator.events import ServiceEvent, Told, tell
from monocore_core.orchestrator.graph import needed_by


@define(eq=False)
class Fall:
    """Stop services of one project. Use :meth:`run` once.

    Attributes:
        crew: does it.
        project: name.
        services: all that are known of it: they say who depends on whom.
        told: receives what happens.
        unwanted: whether they are not to run any more; else they are stopped to be started again.
        since: leave alone what was started later, seconds since the epoch; None: nothing.
        grace: seconds until one is ended by force; None: the service's own.
    """

    crew: Crew
    project: str
    services: Sequence[Service]
    told: Told
    unwanted: bool = True
    since: float | None = None
    grace: float | None = None
    _stopped: dict[str, asyncio.Event] = field(factory=dict[str, asyncio.Event], init=False)

    async def run(self, names: Iterable[str]) -> tuple[str, ...]:
        """Stop them; gives what failed, a sentence each. Cancellation: what was not stopped yet runs on."""
        chosen = tuple(names)
        self._stopped = {name: asyncio.Event() for name in chosen}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._stop(name)) for name in chosen]
        return tuple(problem for task in tasks for problem in task.result())

    async def _stop(self, name: str) -> list[str]:
        for dependent in needed_by(name, self.services):
            if dependent in self._stopped:
                await self._stopped[dependent].wait()
        if self.unwanted and self.crew.ledger.find(self.project) is not None:
            self.crew.ledger.change(self.project, lambda entry: entry.not_wanting(name))
        own = next((service.stop_grace for service in self.services if service.name == name), None)
        grace = own if self.grace is None else self.grace
        found = [one for one in self.crew.existing(self.project) if one.labels.service == name]
        problems = await asyncio.gather(*(self._halt(one, grace) for one in found))
        self._stopped[name].set()
        return [problem for problem in problems if problem]

    async def _halt(self, instance: Existing, grace: float | None) -> str:
        record = self.crew.sandboxes.get(instance.id)
        if self.since is not None and record.started >= self.since:
            return ""
        if record.state.live:
            self._tell("service-stopping", instance)
        try:
            await self.crew.halt(instance.id, grace)
        except MonocoreError as error:
            return f"service {instance.labels.service!r}: {instance.name} could not be stopped: {error.brief}"
        if record.state.live:
            self._tell("service-stopped", instance)
        return ""

    def _tell(self, kind: str, instance: Existing) -> None:
        event = ServiceEvent(kind, self.project, instance.labels.service, instance.name, instance.id)
        tell(self.crew.sandboxes.book.happenings, event)
        self.told(event)
