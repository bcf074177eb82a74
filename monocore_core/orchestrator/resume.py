"""What a process that begins does with the services that it finds: those that run are watched, ends that nobody answered are answered."""

from __future__ import annotations

from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.model.service import Service
from monocore_core.orchestrator.crew import Crew
from monocore_core.orchestrator.graph import with_dependencies
from monocore_core.orchestrator.labels import labels_of
from monocore_core.orchestrator.ledger import Entry
from monocore_core.orchestrator.restarting import begins_at_start


def resume(crew: Crew) -> None:
    """Take up every instance. What an intent is about and does not run is left to its completion."""
    present = {record.id for record in crew.sandboxes.all()}
    for sandbox in crew.ledger.counted():
        if sandbox not in present:
            crew.ledger.forget_count(sandbox)
    for record in crew.sandboxes.all():
        labels = labels_of(record.order.labels)
        entry = crew.ledger.find(labels.project) if labels is not None else None
        service = entry.service(labels.service) if entry is not None and labels is not None else None
        if entry is not None and service is not None:
            _take_up(crew, entry, service, record)


def _take_up(crew: Crew, entry: Entry, service: Service, record: SandboxRecord) -> None:
    if record.state.live:
        crew.watch(service, record)
        return
    if service.name not in entry.wanted or service.name in _intended(entry):
        return
    if record.state is not SandboxState.EXITED:  # it was never started, and nobody is about to
        return
    count = crew.ledger.count(record.id)
    if count.settled < record.runs:
        crew.take_up(service, record)
    elif begins_at_start(service.restart, record, count):
        crew.take_up(service, record, start=True)


def _intended(entry: Entry) -> frozenset[str]:
    if entry.intent is None:
        return frozenset()
    return frozenset(with_dependencies(entry.project.services, entry.intent.services))
