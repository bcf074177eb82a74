"""Small projects of services that are quick to boot."""

from __future__ import annotations

import asyncio

from attrs import evolve

from monocore_core.model.health import Backoff, RestartKind, RestartPolicy
from monocore_core.model.sandbox import MIB, PullPolicy
from monocore_core.model.service import Condition, Dependency, Group, Project, Service
from monocore_core.orchestrator.events import Progress, ServiceEvent
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.orchestrator.status import InstanceStatus

#: Seconds that what a machine does may take on a busy host.
PATIENCE = 90.0
#: Ends at once when it is told to.
IDLE = "trap 'exit 0' TERM; sleep 100000 & wait"
QUICK = Backoff(initial=0.05, maximum=0.1, jitter=0.0)


def service(name: str, image: str, script: str = IDLE, **more: object) -> Service:
    plain = Service(
        name, image, command=("sh", "-c", script), memory=96 * MIB, pull=PullPolicy.NEVER, stop_grace=20.0
    )
    return evolve(plain, **more)  # type: ignore[arg-type]


def shop(*services: Service) -> Project:
    groups = dict.fromkeys(one.group for one in services if one.group)
    return Project("shop", services, tuple(Group(name) for name in groups))


def after(*names: str, condition: Condition = Condition.STARTED) -> tuple[Dependency, ...]:
    return tuple(Dependency(name, condition) for name in names)


def again(kind: RestartKind, attempts: int = 0) -> RestartPolicy:
    return RestartPolicy(kind, attempts, QUICK)


class Heard(list[tuple[str, str]]):
    """The kinds of what happened to services, with their names."""

    def __call__(self, event: Progress) -> None:
        if isinstance(event, ServiceEvent):
            self.append((event.kind, event.service))


def instance(orchestrator: Orchestrator, name: str) -> InstanceStatus:
    """The first instance of a service."""
    return next(one for one in orchestrator.status("shop")[0].services if one.name == name).instances[0]


async def happened(orchestrator: Orchestrator, kind: str, service: str, after: int = 0) -> int:
    """Wait until something happened to a service; gives its number."""
    async with asyncio.timeout(PATIENCE):
        async for happening in orchestrator.sandboxes.book.happenings.follow(after):
            if (happening.kind, happening.facts.get("service")) == (kind, service):
                return happening.number
    raise AssertionError(f"{service} was never {kind}")
