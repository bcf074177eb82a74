"""What is known of projects, as values: made of the sandboxes' records and the ledger, so that it is right after a restart, too."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from attrs import frozen

from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.model.service import Service
from monocore_core.orchestrator.crew import Crew
from monocore_core.orchestrator.health import HealthState
from monocore_core.orchestrator.labels import Labels, labels_of
from monocore_core.orchestrator.ledger import Entry


class ServiceState(StrEnum):
    """Of all instances of a service together."""

    DOWN = "down"
    """Nothing runs, and nothing is to run."""
    STARTING = "starting"
    """Not every instance runs, or is healthy, yet."""
    UP = "up"
    """Every instance runs, and none is unhealthy."""
    COMPLETED = "completed"
    """Every instance ran to its own end, with 0."""
    UNHEALTHY = "unhealthy"
    """An instance is unhealthy."""
    RESTARTING = "restarting"
    """An instance has ended, and is about to be started again."""
    FAILED = "failed"
    """An instance has ended, and is left as it is."""
    STOPPED = "stopped"
    """Somebody stopped an instance."""


@frozen
class InstanceStatus:
    """One instance.

    Attributes:
        id: of its sandbox.
        name: of its sandbox.
        replica: its number, from 1.
        state: of its sandbox.
        health: as its probes say.
        health_detail: what its latest failed probe said, or "".
        restarts: since it was made.
        restarting_at: when it is started again, seconds since the epoch, or 0.
        exit_code: of its latest run, once that has ended; else None.
        exit_reason: of the same: ``exited``, ``killed``, ``oom``, ``timeout``, ``idle``, ``unhealthy``, ``vmm-failed``,
            ``start-failed``, ``lost``; or "".
        exit_detail: a sentence, or "".
        requested: whether that end was somebody's wish.
        ports: that are reachable at the host.
        started: seconds since the epoch, or 0.
        pid: of its VMM, or 0.
        config_hash: of the configuration that it was made of.
        image: reference, as configured when it was made.
        image_digest: of the image that it is made of.
    """

    id: str
    name: str
    replica: int
    state: SandboxState
    health: HealthState
    health_detail: str
    restarts: int
    restarting_at: float
    exit_code: int | None
    exit_reason: str
    exit_detail: str
    requested: bool
    ports: tuple[str, ...]
    started: float
    pid: int
    config_hash: str
    image: str
    image_digest: str


@frozen
class ServiceStatus:
    """One service.

    Attributes:
        project: name of its project.
        name: its own.
        group: name, or "".
        state: of all instances together.
        wanted: whether it is to run.
        orphan: whether the project has it no more.
        replicas: how many instances there are to be.
        cpus: virtual processors of each instance.
        memory: bytes of each instance.
        instances: those that there are.
    """

    project: str
    name: str
    group: str
    state: ServiceState
    wanted: bool
    orphan: bool
    replicas: int
    cpus: int
    memory: int
    instances: tuple[InstanceStatus, ...]


@frozen
class ProjectStatus:
    """One project.

    Attributes:
        name: its own.
        source: the file that it was brought up from, or "".
        busy: what is under way: ``up``, ``down``, ``restart``, or "".
        services: in the order of the file, then those that it has no more.
    """

    name: str
    source: str
    busy: str
    services: tuple[ServiceStatus, ...]


def project_status(name: str, entry: Entry | None, crew: Crew, group: str | None = None) -> ProjectStatus:
    """What is known of a project; without an entry, what its sandboxes' labels say."""
    found: dict[str, list[tuple[Labels, SandboxRecord]]] = {}
    for record in crew.sandboxes.all():
        labels = labels_of(record.order.labels)
        if labels is not None and labels.project == name:
            found.setdefault(labels.service, []).append((labels, record))
    names = [service.name for service in entry.project.services] if entry is not None else []
    statuses = [
        _service(name, one, entry, found.get(one, []), crew)
        for one in dict.fromkeys((*names, *sorted(found)))
    ]
    source = str(entry.project.source or "") if entry is not None else ""
    busy = entry.intent.kind.value if entry is not None and entry.intent is not None else ""
    chosen = tuple(one for one in statuses if group is None or one.group == group)
    return ProjectStatus(name, source, busy, chosen)


def summary(
    instances: Iterable[InstanceStatus], replicas: int, *, wanted: bool, service: Service | None
) -> ServiceState:
    """The state of instances together. Pure."""
    states = [_instance_state(one, service) for one in instances]
    for state in (
        ServiceState.FAILED,
        ServiceState.UNHEALTHY,
        ServiceState.RESTARTING,
        ServiceState.STARTING,
    ):
        if state in states and (wanted or state is not ServiceState.FAILED):
            return state
    if not any(state is ServiceState.UP for state in states) and not wanted:
        return ServiceState.DOWN
    if ServiceState.STOPPED in states:
        return ServiceState.STOPPED
    if len(states) < replicas:
        return ServiceState.STARTING
    done = bool(states) and all(state is ServiceState.COMPLETED for state in states)
    return ServiceState.COMPLETED if done else ServiceState.UP


def _instance_state(one: InstanceStatus, service: Service | None) -> ServiceState:
    if one.restarting_at:
        return ServiceState.RESTARTING
    if one.state in (SandboxState.RUNNING, SandboxState.PAUSED):
        starting = one.health is HealthState.STARTING and service is not None
        healthy = ServiceState.STARTING if starting else ServiceState.UP
        return ServiceState.UNHEALTHY if one.health is HealthState.UNHEALTHY else healthy
    if one.state.live or one.exit_code is None:
        return ServiceState.STARTING
    if one.requested:
        return ServiceState.STOPPED
    completed = (one.exit_code, one.exit_reason) == (0, "exited")
    return ServiceState.COMPLETED if completed else ServiceState.FAILED


def _service(
    project: str,
    name: str,
    entry: Entry | None,
    found: Iterable[tuple[Labels, SandboxRecord]],
    crew: Crew,
) -> ServiceStatus:
    service = entry.service(name) if entry is not None else None
    pairs = sorted(found, key=lambda pair: pair[0].replica)
    instances = tuple(_instance(labels, record, crew) for labels, record in pairs)
    wanted = entry is not None and name in entry.wanted
    replicas = service.replicas if service is not None else len(instances)
    first = pairs[0][1].order.sandbox if pairs else None
    return ServiceStatus(
        project=project,
        name=name,
        group=service.group if service is not None else (pairs[0][0].group if pairs else ""),
        state=summary(instances, replicas, wanted=wanted, service=service),
        wanted=wanted,
        orphan=entry is None or entry.project.service(name) is None,
        replicas=replicas,
        cpus=service.cpus if service is not None else (first.vcpus if first else 0),
        memory=service.memory if service is not None else (first.memory if first else 0),
        instances=instances,
    )


def _instance(labels: Labels, record: SandboxRecord, crew: Crew) -> InstanceStatus:
    supervisor = crew.supervisor(record.id)
    end = record.end
    running = record.state.live and end is None
    return InstanceStatus(
        id=record.id,
        name=record.name,
        replica=labels.replica,
        state=record.state,
        health=supervisor.health if supervisor is not None and running else HealthState.NONE,
        health_detail=supervisor.why if supervisor is not None else "",
        restarts=crew.ledger.count(record.id).total,
        restarting_at=supervisor.restarting_at if supervisor is not None else 0.0,
        exit_code=end.code if end is not None else None,
        exit_reason=end.reason.value if end is not None else "",
        exit_detail=end.detail if end is not None else "",
        requested=record.requested and end is not None,
        ports=record.ports,
        started=record.started,
        pid=record.pid,
        config_hash=labels.config_hash,
        image=labels.image,
        image_digest=record.order.sandbox.image,
    )
