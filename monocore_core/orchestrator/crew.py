"""The supervisors of all instances, and what is done with one instance: started, watched, halted, removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping

from attrs import define, field

from monocore_core.errors import NotFound
from monocore_core.model.events import Listener, ignore
from monocore_core.model.record import SandboxRecord
from monocore_core.model.service import Service
from monocore_core.orchestrator.converge import Existing, existing_of
from monocore_core.orchestrator.events import ServiceEvent, tell
from monocore_core.orchestrator.labels import labels_of
from monocore_core.orchestrator.ledger import Ledger
from monocore_core.orchestrator.secrets import Values, read_secrets
from monocore_core.orchestrator.supervisor import Place, Supervisor
from monocore_core.runtime.life import Life
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.sandbox import Sandbox

#: Machines that boot at once: more would only make each of them slower, until their time to boot is up.
STARTERS = max(4, 2 * (os.cpu_count() or 1))


@define(eq=False)
class Crew:
    """Who watches what.

    Attributes:
        sandboxes: of the home.
        ledger: of the home.
        key: of the secrets' digests.
    """

    sandboxes: Sandboxes
    ledger: Ledger
    key: bytes = field(repr=False)
    _supervisors: dict[str, Supervisor] = field(factory=dict[str, Supervisor], init=False)
    _environs: dict[str, Mapping[str, str]] = field(
        factory=dict[str, Mapping[str, str]], init=False, repr=False
    )
    _gate: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(STARTERS), init=False)

    def existing(self, project: str) -> tuple[Existing, ...]:
        """The instances of a project."""
        return existing_of(self.sandboxes.all(), project)

    def supervisor(self, sandbox: str) -> Supervisor | None:
        """Who watches an instance, or has watched it to its end."""
        return self._supervisors.get(sandbox)

    def equip(self, project: str, environ: Mapping[str, str]) -> None:
        """Secrets of a project that are variables come from these from now on."""
        self._environs[project] = dict(environ)

    def environ(self, project: str) -> Mapping[str, str]:
        """Where they come from: what its latest ``up`` had, else our own environment."""
        return self._environs.get(project, os.environ)

    async def launch(
        self, service: Service, record: SandboxRecord, values: Values, listener: Listener
    ) -> None:
        """Start an instance and watch it from then on. Failure: its end is settled, and nobody watches it.

        Raises:
            MonocoreError: as starting a sandbox says.
        """
        await self._dismiss(record.id)
        try:
            await self._start(service, record.id, values, listener)
        finally:  # whatever came of it: somebody waits for it from now on, or knows that nobody need to
            with contextlib.suppress(NotFound):
                self.watch(service, self.sandboxes.get(record.id))

    def watch(self, service: Service, record: SandboxRecord) -> Supervisor:
        """Watch an instance that runs; of one that does not, settle its end. One that is watched is watched by the same on."""
        known = self._supervisors.get(record.id)
        if known is not None and known.active:  # whoever follows what is started may have been quicker
            known.serve(service)
            return known
        supervisor = self._appoint(service, record)
        if record.state.live:
            supervisor.begin()
        else:
            self._settle(record)
            supervisor.settle()
        return supervisor

    def take_up(self, service: Service, record: SandboxRecord, *, start: bool = False) -> None:
        """Answer an end that nobody has answered yet; ``start``: whatever it was, start it."""
        self._appoint(service, record).begin(start=start)

    def _appoint(self, service: Service, record: SandboxRecord) -> Supervisor:
        labels = labels_of(record.order.labels)
        place = Place(self.sandboxes, self.ledger, self._start_again, self._told)
        project = labels.project if labels is not None else ""
        supervisor = Supervisor(place, project, service, record.id, record.name)
        self._supervisors[record.id] = supervisor
        return supervisor

    async def halt(self, sandbox: str, grace: float | None) -> None:
        """Stop an instance, whatever it is doing, and watch it no more. A repeat does nothing.

        Args:
            sandbox: id; an unknown one is not an error.
            grace: seconds until it is ended by force; None: its own.
        """
        await self._dismiss(sandbox)
        with contextlib.suppress(NotFound):
            await self.sandboxes.stop(sandbox, grace)
            self._settle(self.sandboxes.get(sandbox))

    async def remove(self, sandbox: str) -> None:
        """Remove an instance that was halted, and what is counted of it. An unknown one is not an error."""
        await self._dismiss(sandbox)
        with contextlib.suppress(NotFound):
            await self.sandboxes.remove(sandbox)
        self.ledger.forget_count(sandbox)
        self._supervisors.pop(sandbox, None)

    async def leave(self) -> None:
        """Watch nothing any more; what runs goes on."""
        await asyncio.gather(*(supervisor.leave() for supervisor in list(self._supervisors.values())))

    async def _dismiss(self, sandbox: str) -> None:
        supervisor = self._supervisors.get(sandbox)
        if supervisor is not None:
            await supervisor.leave()

    def _settle(self, record: SandboxRecord) -> None:
        count = self.ledger.count(record.id)
        if record.runs and count.settled < record.runs:
            self.ledger.save_count(record.id, count.settling(record.runs))

    async def _start_again(self, service: Service, sandbox: str) -> Life:
        return await self._start(service, sandbox, None, ignore)

    async def _start(self, service: Service, sandbox: str, values: Values | None, listener: Listener) -> Life:
        labels = labels_of(self.sandboxes.get(sandbox).order.labels)
        environ = self.environ(labels.project if labels is not None else "")

        async def prepare(inside: Sandbox) -> tuple[str, ...]:
            given = values if values is not None else await read_secrets(service, environ)
            return await given.deliver(service, inside)

        async with self._gate:
            return await self.sandboxes.start(sandbox, listener=listener, prepare=prepare)

    def _told(self, event: ServiceEvent) -> None:
        tell(self.sandboxes.book.happenings, event)
