"""What services must agree on among themselves: names, dependencies, ports, storage, the machine. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from monocore_core.config.resolve_mounts import target_of, within
from monocore_core.config.tree import Node, Place, Problems
from monocore_core.config.words import read_ports
from monocore_core.errors import InvalidInput
from monocore_core.model.health import RestartKind
from monocore_core.model.network import Publish
from monocore_core.model.sandbox import MIB
from monocore_core.model.service import Condition, Group, Service, instance_hostname


@frozen
class Host:
    """What the machine has, as far as services can ask for too much of it.

    Attributes:
        processors: that this process may use.
        memory: bytes of RAM.
    """

    processors: int
    memory: int


@frozen
class Entry:
    """A service with the table that it was made of; ``active``: its profiles are asked for, or it has none."""

    service: Service
    node: Node
    active: bool


def check(entries: Sequence[Entry], groups: Sequence[tuple[Group, Node]], problems: Problems) -> None:
    """Everything but the machine's limits, which are another host's perhaps."""
    _unique(((group.name, node) for group, node in groups), problems)
    _unique(((entry.service.name, entry.node) for entry in entries), problems)
    named = {entry.service.name: entry for entry in entries if entry.service.name}
    for entry in entries:
        _references(entry, named, problems)
    _cycles(named, problems)
    active = [entry for entry in entries if entry.active]
    for entry in active:
        if not entry.service.image:
            problems.add(entry.node.at("base"), "base is missing: give the image's reference")
    _hostnames(active, problems)
    _ports(active, problems)
    _overlaps(active, groups, problems)


def check_host(entries: Iterable[Entry], host: Host, problems: Problems) -> None:
    """The machine's limits.

    One instance with more memory than there is cannot run: an error. More processors than there are make it slow, and more memory in all
    fails only when it is used up, as guests' memory is taken when it is touched: warnings.
    """
    total = 0
    for entry in entries:
        service = entry.service
        total += service.memory * service.replicas
        if service.memory > host.memory:
            text = f"{_mib(service.memory)} are more than this machine has ({_mib(host.memory)})"
            problems.add(entry.node.at("ram"), text)
        if service.cpus > host.processors:
            text = f"{service.cpus} virtual processors are more than this machine has ({host.processors})"
            problems.warn_about(entry.node.at("cpus"), text)
    if total > host.memory:
        place = next((entry.node.place for entry in entries), None)
        text = (
            f"all services together may use {_mib(total)}, more than this machine has ({_mib(host.memory)})"
        )
        if place is not None:
            problems.warn_about(Place(place.origin), text)


def _mib(size: int) -> str:
    return f"{math.ceil(size / MIB)} MiB"


def _unique(named: Iterable[tuple[str, Node]], problems: Problems) -> None:
    seen: dict[str, Node] = {}
    for name, node in named:
        if name in seen:
            first = seen[name].at("name")
            where = f" (first in line {first.line})" if first.line else ""
            problems.add_about(node.at("name"), f"the name is taken{where}")
        elif name:
            seen[name] = node


def _references(entry: Entry, named: Mapping[str, Entry], problems: Problems) -> None:
    for link in entry.service.depends_on:
        place = _link_place(entry.node, link.service)
        target = named.get(link.service)
        if target is None:
            names = ", ".join(sorted(named)) or "none"
            problems.add_about(
                place, f"depends_on {link.service!r}, which is not defined (services: {names})"
            )
            continue
        reason = _unmet(entry, link.condition, target)
        if reason:
            problems.add_about(place, f"depends_on {link.service!r}, {reason}")


def _link_place(node: Node, name: str) -> Place:
    """Where a dependency on this service stands."""
    links = node.parts.get("depends_on")
    for item in links.elements if links is not None else ():
        word = item.parts.get("service", item)
        if word.value == name:
            return item.place
    return node.at("depends_on")


def _unmet(entry: Entry, condition: Condition, target: Entry) -> str:
    """Why a dependency could never be met, or ""."""
    service = target.service
    if entry.active and not target.active:
        return f"which is only in the profiles {', '.join(service.profiles)}: ask for one of them, or give this service one"
    if condition is Condition.HEALTHY and service.healthcheck is None:
        return "which is to be healthy and has no healthcheck"
    if condition is Condition.COMPLETED and service.restart.kind in (
        RestartKind.ALWAYS,
        RestartKind.UNLESS_STOPPED,
    ):
        return f"which is to be completed and never is, as its restart policy is {service.restart.kind}"
    return ""


def _cycles(named: Mapping[str, Entry], problems: Problems) -> None:
    """Every way along dependencies that leads back, as a chain; each once. Iterative: a chain may be as long as the list of services."""
    done: set[str] = set()
    for start in named:
        path: list[str] = []
        stack: list[Iterator[str]] = [iter((start,))]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                chain = [*path[path.index(name) :], name]
                place = _link_place(named[chain[-2]].node, name)
                problems.add_about(place, f"services depend on one another: {' → '.join(chain)}")
            elif name not in done:
                path.append(name)
                links = (one.service for one in named[name].service.depends_on)
                stack.append(iter([link for link in links if link in named]))


def _hostnames(active: Sequence[Entry], problems: Problems) -> None:
    """Instances of one group have names of their own there."""
    seen: dict[tuple[str, str], tuple[str, int]] = {}
    for entry in active:
        service = entry.service
        if not service.name:
            continue
        for replica in range(1, service.replicas + 1):
            hostname = instance_hostname(service.name, replica)
            taken = seen.setdefault((service.group, hostname.lower()), (service.name, replica))
            if service.group and taken[0] != service.name:
                problems.add_about(
                    entry.node.at("name"),
                    f"the hostname {hostname!r} of instance {replica} is that of service {taken[0]!r}, instance {taken[1]}",
                )


def _ports(active: Sequence[Entry], problems: Problems) -> None:
    """No port of the host is published twice."""
    taken: dict[tuple[str, int], list[tuple[Publish, Entry]]] = {}
    for entry in active:
        for publish, place in zip(entry.service.ports, _port_places(entry.node), strict=True):
            if not publish.host:
                continue
            if entry.service.replicas > 1:
                problems.add_about(
                    place,
                    f"port {_port(publish)} cannot be published by each of {entry.service.replicas} replicas: "
                    f"leave the port of the host open, as in ':{publish.guest}'",
                )
            others = taken.setdefault((publish.protocol.value, publish.host), [])
            clash = next((one for one in others if _same_address(one[0], publish)), None)
            if clash is not None and clash[1] is entry:
                problems.add_about(place, f"port {_port(publish)} is published twice{_at(clash[0], publish)}")
            elif clash is not None:
                whose = f"service {clash[1].service.name!r}"
                problems.add_about(
                    place, f"port {_port(publish)} is published by {whose}, too{_at(clash[0], publish)}"
                )
            others.append((publish, entry))


def _port_places(node: Node) -> Iterator[Place]:
    """Where each published port stands: a range is several."""
    entries = node.parts.get("port")
    if entries is not None:
        for item in entries.items if entries.items is not None else [entries]:
            yield from [item.place] * len(_published(item))


def _published(item: Node) -> tuple[Publish, ...]:
    try:
        return read_ports(item.value).publish
    except InvalidInput:  # one alone, which was told; those of a list were taken out
        return ()


def _port(publish: Publish) -> str:
    return f"{publish.host}/{publish.protocol}"


def _at(one: Publish, other: Publish) -> str:
    """Why two addresses are not two."""
    if one.address == other.address:
        return ""
    if one.address.is_unspecified:
        return f" (at {one.address}, which is every address)"
    return f" (at {one.address}, and {other.address} is every address)"


def _same_address(one: Publish, other: Publish) -> bool:
    """Whether two listen at one address; the unspecified one is every address of its version."""
    if one.address.version != other.address.version:
        return False
    return one.address == other.address or one.address.is_unspecified or other.address.is_unspecified


@frozen
class _Held:
    """A piece of storage, who has it, and where that is said."""

    path: str
    owner: str
    place: Place
    readonly: bool = False


def _overlaps(active: Sequence[Entry], groups: Sequence[tuple[Group, Node]], problems: Problems) -> None:
    """Storage that one may write is nobody else's, but for a group's own volumes, which its services share."""
    held: list[_Held] = []
    for group, node in groups:
        for number, volume in enumerate(group.volumes):
            place = node.at("volume", number)
            held.append(_Held(volume.path, f"group {group.name!r}", place))
    for entry in active:
        shared = {
            volume.path
            for group, _ in groups
            if group.name == entry.service.group
            for volume in group.volumes
        }
        held += _own(entry, shared)
    for one, other in _meeting(held):
        first, second = (one, other) if one.place.line <= other.place.line else (other, one)
        if first.owner == second.owner and first.owner.startswith("service"):
            continue
        if first.readonly and second.readonly:
            continue
        what = f"{_shown(second)} is"
        if second.path != first.path:
            what = f"{second.path} overlaps {first.path}, which is"
        problems.add_about(
            second.place,
            f"{what} a volume of {first.owner}, too: mount both read-only, or make it one volume of a group",
        )


def _shown(held: _Held) -> str:
    """A path, or the name of a named volume without the project's."""
    return held.path if held.path.startswith("/") else held.path.partition(".")[2]


def _own(entry: Entry, shared: set[str]) -> Iterator[_Held]:
    volumes = (entry.node.parts).get("volumes")
    items = volumes.elements if volumes is not None else ()
    places = {target_of(str(item.parts.get("target", item).value)): item.place for item in items}
    for mount in entry.service.volumes:
        if mount.source and not any(within(mount.source, path) for path in shared):
            place = places.get(mount.target, entry.node.place)
            yield _Held(mount.source, f"service {entry.service.name!r}", place, mount.readonly)


def _meeting(held: Iterable[_Held]) -> Iterator[tuple[_Held, _Held]]:
    """Pairs of which one is the other or lies below it: after sorting by components, what lies below a path follows it at once."""
    ordered = sorted(held, key=lambda one: one.path.split("/"))
    above: list[_Held] = []
    for one in ordered:
        while above and not within(one.path, above[-1].path):
            above.pop()
        for other in above:
            yield other, one
        above.append(one)
