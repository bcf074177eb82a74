"""Who waits for whom among services. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from monocore_core.errors import InvalidInput, NotFound
from monocore_core.model.service import Project, Service


def choose(
    services: Sequence[Service], names: Collection[str] | None = None, group: str | None = None
) -> tuple[str, ...]:
    """The services that a person means, in the order of the file, without what they depend on.

    Args:
        services: of the project.
        names: of services, or None for all.
        group: only its members, or None.

    Raises:
        NotFound: there is no such service in the project, or no service in the group.
        InvalidInput: a service that is named is not in the group.
    """
    known = {service.name: service for service in services}
    for name in names or ():
        if name not in known:
            raise NotFound(f"no such service: {name!r} (services: {_listed(known)})")
    if group is not None and not any(service.group == group for service in services):
        groups = sorted({service.group for service in services if service.group})
        raise NotFound(f"no service is in the group {group!r} (groups: {_listed(groups)})")
    for name in names or ():
        if group is not None and known[name].group != group:
            raise InvalidInput(f"service {name!r} is not in the group {group!r}")
    return tuple(
        service.name
        for service in services
        if (names is None or service.name in names) and (group is None or service.group == group)
    )


def with_dependencies(services: Sequence[Service], names: Iterable[str]) -> tuple[str, ...]:
    """These services and everything that they depend on, however indirectly, in the order of the file."""
    known = {service.name: service for service in services}
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found and name in known:
            found.add(name)
            waiting += [dependency.service for dependency in known[name].depends_on]
    return tuple(name for name in known if name in found)


def waves(services: Sequence[Service]) -> tuple[tuple[str, ...], ...]:
    """The services in waves: each waits for nothing but services of earlier waves, and is in the first wave of which that is so.

    What a service depends on and is not among them is not waited for.

    Raises:
        InvalidInput: they wait for one another in a circle, which is named.
    """
    left = {service.name: needs(service, services) for service in services}
    found: list[tuple[str, ...]] = []
    while left:
        wave = tuple(name for name, wanted in left.items() if not wanted & left.keys())
        if not wave:
            raise InvalidInput(f"services wait for one another: {' → '.join(_circle(left))}")
        found.append(wave)
        for name in wave:
            del left[name]
    return tuple(found)


def needs(service: Service, among: Iterable[Service]) -> frozenset[str]:
    """Names of the services among these that one depends on itself."""
    names = {one.name for one in among}
    return frozenset(dependency.service for dependency in service.depends_on) & names


def needed_by(name: str, among: Iterable[Service]) -> frozenset[str]:
    """Names of the services among these that depend on one themselves."""
    return frozenset(
        one.name for one in among if any(dependency.service == name for dependency in one.depends_on)
    )


def active(project: Project, names: Iterable[str]) -> tuple[Service, ...]:
    """The services of a project with these names, in the order of the file."""
    wanted = frozenset(names)
    return tuple(service for service in project.services if service.name in wanted)


def _circle(waiting: Mapping[str, frozenset[str]]) -> list[str]:
    """One circle among services that all wait for at least one another."""
    path = [next(iter(waiting))]
    while True:
        following = min(waiting[path[-1]] & waiting.keys())
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
