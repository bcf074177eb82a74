"""From the tables of one service to its :class:`~monocore_core.model.service.Service`. Pure but for the reading of env files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen

from monocore_core.config import resolve_parts as parts
from monocore_core.config.resolve_mounts import group_mounts, own_volumes, unique_targets
from monocore_core.config.resolve_network import network_of, ports_of
from monocore_core.config.service_tables import DependencyTable, RestartTable, ServiceTable
from monocore_core.config.tree import Node, Origin, Problems
from monocore_core.config.words import read_restart
from monocore_core.errors import MonocoreError
from monocore_core.model.health import Backoff, RestartKind, RestartPolicy
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import MIB, MIN_DISK, MIN_MEMORY
from monocore_core.model.service import (
    DEFAULT_MEMORY,
    Dependency,
    DiskLimits,
    Group,
    Service,
)
from monocore_core.model.volume import in_order

#: Gives the text of a file, by a path relative to the folder of the origin (or absolute); raises an error of ours where it cannot.
ReadText = Callable[[str, Origin], str]


@frozen
class Surroundings:
    """What a service is resolved in.

    Attributes:
        project: name.
        groups: by name.
        environ: variables that may be passed on.
        read_text: for env files.
        problems: gets what is wrong.
    """

    project: str
    groups: Mapping[str, Group]
    environ: Mapping[str, str] = field(repr=False)
    read_text: ReadText
    problems: Problems


def resolve(table: ServiceTable, node: Node, around: Surroundings) -> Service:
    """The service that a table means.

    Args:
        table: as read of ``node``.
        node: for places.
        around: the rest of the document.
    """
    problems = around.problems
    group = around.groups.get(table.group or "")
    if table.group is not None and group is None:
        known = ", ".join(sorted(around.groups)) or "none"
        problems.add_about(node.at("group"), f"group {table.group!r}, which is not defined (groups: {known})")
    ports = ports_of(table, group)
    volumes = own_volumes(table, node, around.project, problems) + group_mounts(table, node, group, problems)
    secrets = parts.secrets_of(table, node, problems)
    env = _environment(table, node, group, around)
    parts.refuse_shadowed(secrets, env, node, problems)
    unique_targets(table, node, volumes, secrets, problems)
    _check_sizes(table, node, problems)
    return Service(
        name=table.name,
        image=parts.image_of(table, node, problems),
        platform=table.platform or Platform.host(),
        pull=table.pull,
        group=table.group or "",
        command=(*table.command, *table.args),
        entrypoint=table.entrypoint,
        user=table.user,
        workdir=table.workdir or "",
        env=env,
        rlimits=parts.unique_rlimits(table, node, problems),
        init=table.init,
        cpus=table.cpus,
        cpu_fraction=table.cpu_fraction or 0.0,
        memory=table.ram or DEFAULT_MEMORY,
        disk=table.disk,
        disk_limits=_disk_limits(table, node, problems),
        readonly=table.read_only,
        tmpfs=table.tmpfs,
        volumes=in_order(mount for mount, _ in volumes),
        ports=ports,
        network=network_of(table, node, group, ports, problems),
        secrets=secrets,
        depends_on=_dependencies(table, node, problems),
        restart=_restart(table, node, problems),
        healthcheck=parts.healthcheck_of(table, node, problems),
        stop_signal=table.stop_signal or "",
        stop_grace=table.stop_grace,
        timeout=table.timeout,
        idle_timeout=table.idle_timeout,
        replicas=table.replicas,
        profiles=table.profiles,
        labels=table.labels,
    )


def _environment(
    table: ServiceTable, node: Node, group: Group | None, around: Surroundings
) -> tuple[str, ...]:
    """The group's variables, then those of files, then its own: the later win."""
    found: dict[str, str] = {}
    known = {one.name: one.envs for one in group.envs} if group else {}
    for number, name in enumerate(table.group_envs):
        place = node.at("group_envs", number)
        if table.group is None:
            around.problems.add_about(place, f"group_envs {name!r}, but the service is in no group")
        elif group is not None and name not in known:
            there = ", ".join(known) or "none"
            text = f"group_envs {name!r}, which group {group.name!r} does not have (there are: {there})"
            around.problems.add_about(place, text)
        elif name in table.group_envs[:number]:
            around.problems.add_about(place, f"group_envs {name!r} is given twice")
        found |= {text.partition("=")[0]: text for text in known.get(name, ())}
    files = table.env_files if isinstance(table.env_files, tuple) else (table.env_files,)
    for number, name in enumerate(files):
        place = node.at("env_files", number)
        try:
            lines = parts.env_lines(around.read_text(name, place.origin), name, around.environ)
        except MonocoreError as error:
            around.problems.refused(place, error)
            continue
        found |= {text.partition("=")[0]: text for text in lines}
    own = parts.variables(table.envs, node, around.environ, around.problems)
    found |= {text.partition("=")[0]: text for text in own}
    return tuple(found.values())


def _dependencies(table: ServiceTable, node: Node, problems: Problems) -> tuple[Dependency, ...]:
    found: dict[str, Dependency] = {}
    for number, one in enumerate(table.depends_on):
        link = Dependency(one.service, one.condition) if isinstance(one, DependencyTable) else Dependency(one)
        if link.service in found:
            problems.add_about(node.at("depends_on", number), f"depends_on {link.service!r} is given twice")
        found[link.service] = link
    return tuple(found.values())


def _restart(table: ServiceTable, node: Node, problems: Problems) -> RestartPolicy:
    wanted = table.restart if isinstance(table.restart, RestartTable) else RestartTable(table.restart)
    kind, _, attempts = read_restart(wanted.policy).partition(":")
    if wanted.maximum < wanted.initial:
        problems.add(
            node.at("restart", "maximum"),
            f"{wanted.maximum:g} s is less than 'initial', {wanted.initial:g} s",
        )
    backoff = Backoff(wanted.initial, wanted.maximum, wanted.factor, wanted.jitter, wanted.reset_after)
    return RestartPolicy(RestartKind(kind), int(attempts or 0), backoff, wanted.unhealthy)


def _disk_limits(table: ServiceTable, node: Node, problems: Problems) -> DiskLimits:
    if table.disk_limits is None:
        return DiskLimits()
    if table.disk is None:
        problems.add(node.at("disk_limits"), "there is no disk to limit: give 'disk' its size")
    wanted = table.disk_limits
    return DiskLimits(wanted.read or 0, wanted.write or 0, wanted.read_ops or 0, wanted.write_ops or 0)


def _check_sizes(table: ServiceTable, node: Node, problems: Problems) -> None:
    if table.ram is not None and table.ram < MIN_MEMORY:
        problems.add(
            node.at("ram"),
            f"{table.ram / MIB:g} MiB are too little for a guest: at least {MIN_MEMORY // MIB} MiB",
        )
    if table.disk is not None and table.disk < MIN_DISK:
        problems.add(
            node.at("disk"),
            f"{table.disk / MIB:g} MiB are too little for a disk: at least {MIN_DISK // MIB} MiB",
        )
    if table.disk is not None and table.read_only:
        problems.add(node.at("disk"), "a root that is read_only has no use for a disk")
