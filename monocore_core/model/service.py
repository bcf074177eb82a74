"""Services as configured, resolved: nothing in here refers to a file, a variable or another service's values any more.

``monocore_core.config.project`` makes them of ``monocore.toml``; ``monocore_core.plan.service`` makes of each the one
:class:`~monocore_core.model.sandbox.SandboxRequest` and :class:`~monocore_core.model.sandbox.CommandRequest` that it is run by.

Names on the host begin with the project's, so that projects do not meet: an instance of ``web`` in the project ``shop`` is the sandbox
``shop.web`` (the second one ``shop.web.2``), the group ``back`` is the networks' group ``shop.back``, the volume ``data`` the store's
``shop.data``. In its group, the first instance's hostname is ``web``, the second one's ``web-2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from attrs import field, frozen, validators

from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.health import Healthcheck, RestartPolicy
from monocore_core.model.machine import DiskLimits as DiskLimits  # noqa: PLC0414 - a service's, too
from monocore_core.model.network import Dns, Limits, Publish
from monocore_core.model.oci import Platform
from monocore_core.model.policy import Policy
from monocore_core.model.sandbox import MIB, PullPolicy
from monocore_core.model.secret import Secret
from monocore_core.model.volume import VolumeMount

#: Memory of a service that does not say, bytes (monocore 0.2.1's).
DEFAULT_MEMORY = 1024 * MIB
#: Instances of one service.
MAX_REPLICAS = 256
#: Longest names. ``PROJECT.SERVICE.NUMBER`` is a sandbox's name, ``PROJECT.GROUP`` a network's group: at most 63 characters each.
MAX_PROJECT_NAME, MAX_NAME = 26, 32


class Condition(StrEnum):
    """What a service waits for in one that it depends on."""

    STARTED = "started"
    """Its process was started."""
    HEALTHY = "healthy"
    """Its health check succeeded."""
    COMPLETED = "completed"
    """Its process ended with 0."""


@frozen
class Dependency:
    """On another service of the project; with replicas, on each of them."""

    service: str
    condition: Condition = Condition.STARTED

    def __str__(self) -> str:
        return self.service if self.condition is Condition.STARTED else f"{self.service} ({self.condition})"


@frozen
class ServiceNetwork:
    """What a service asks of a network; its group is the service's.

    Attributes:
        policy: what it may reach.
        ingress: what other members of its group may reach in it, or None for everything.
        dns: how names are resolved.
        limits: of bandwidth and packets.
        mtu: bytes; 0 lets the network choose.
    """

    policy: Policy
    ingress: Policy | None = None
    dns: Dns = field(factory=Dns)
    limits: Limits = field(factory=Limits)
    mtu: int = 0


@frozen
class Service:
    """One service of a project.

    Attributes:
        name: unique in the project; its instances' hostname, too.
        image: reference.
        platform: of the image.
        pull: when to ask the image's source.
        group: name of its group, or "".
        command: replaces the image's CMD; empty for the image's.
        entrypoint: replaces the image's ENTRYPOINT when not None.
        user: "" for the image's.
        workdir: "" for the image's.
        env: ``NAME=value``, each name once, over the image's: from the group's environments, then env files, then its own.
        rlimits: of the process.
        init: whether the guest agent is PID 1 and the process its child; False: the process is to be PID 1 itself (systemd).
        cpus: virtual processors.
        cpu_fraction: host processors' worth of time that all of them together may use (0.5: half of one); 0 for no limit.
        memory: bytes of guest RAM.
        disk: bytes of a disk for writes, or None to keep them in the guest's memory.
        disk_limits: of that disk.
        readonly: the root is not writable at all.
        tmpfs: further tmpfs mounts.
        volumes: folders of the host (absolute), named volumes (with the project's name before theirs), outer targets first; of the group too.
        ports: published at the host.
        network: None for no network device.
        secrets: what it is given without anybody seeing it.
        depends_on: what must be there before it is started.
        restart: what becomes of it when it ends.
        healthcheck: None: it is healthy as soon as it is started.
        stop_signal: sent to the process first, e.g. ``SIGTERM``; "" for the image's STOPSIGNAL, else SIGTERM.
        stop_grace: seconds until it is ended by force.
        timeout: seconds that one run may take, or None; then it is stopped, with the reason ``timeout``.
        idle_timeout: seconds without a connection, output or exec after which it is stopped, or None.
        replicas: instances.
        profiles: it belongs to.
        labels: for people and programs; they change nothing.
    """

    name: str
    image: str
    platform: Platform = field(factory=Platform.host)
    pull: PullPolicy = PullPolicy.MISSING
    group: str = ""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    user: str = ""
    workdir: str = ""
    env: tuple[str, ...] = ()
    rlimits: tuple[Rlimit, ...] = ()
    init: bool = True
    cpus: int = 1
    cpu_fraction: float = field(default=0.0, validator=validators.ge(0.0))
    memory: int = DEFAULT_MEMORY
    disk: int | None = None
    disk_limits: DiskLimits = field(factory=DiskLimits)
    readonly: bool = False
    tmpfs: tuple[TmpfsMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    ports: tuple[Publish, ...] = ()
    network: ServiceNetwork | None = None
    secrets: tuple[Secret, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    restart: RestartPolicy = field(factory=RestartPolicy)
    healthcheck: Healthcheck | None = None
    stop_signal: str = ""
    stop_grace: float = field(default=10.0, validator=validators.ge(0.0))
    timeout: float | None = None
    idle_timeout: float | None = None
    replicas: int = field(default=1, validator=[validators.ge(0), validators.le(MAX_REPLICAS)])
    profiles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(factory=dict[str, str])


@frozen
class GroupVolume:
    """Storage that services of a group may mount.

    Attributes:
        name: unique in the group.
        path: folder of the host (absolute), or the name of a named volume (with the project's before it).
    """

    name: str
    path: str


@frozen
class GroupEnv:
    """Variables that services of a group may take.

    Attributes:
        name: unique in the group.
        envs: ``NAME=value``.
    """

    name: str
    envs: tuple[str, ...] = ()


@frozen
class Group:
    """Services that reach one another, and are started and stopped together when asked to.

    Attributes:
        name: unique in the project.
        local_only: its services reach one another and nothing else, and their ports are published at the loopback alone, where they do
            not say otherwise themselves.
        volumes: may be mounted by them.
        envs: may be taken by them.
    """

    name: str
    local_only: bool = True
    volumes: tuple[GroupVolume, ...] = ()
    envs: tuple[GroupEnv, ...] = ()


@frozen
class Project:
    """Everything that one file says of services, validated.

    Attributes:
        name: of the project; before its instances', volumes' and groups' names, so that projects do not meet.
        services: those that are active, in the order of the file; what they depend on is among them.
        groups: in the order of the file.
        inactive: names of services whose profiles were not asked for.
        source: the file, or None where it came from elsewhere.
        warnings: what is allowed and yet likely wrong, with file and line.
    """

    name: str
    services: tuple[Service, ...] = ()
    groups: tuple[Group, ...] = ()
    inactive: tuple[str, ...] = ()
    source: Path | None = None
    warnings: tuple[str, ...] = ()

    def service(self, name: str) -> Service | None:
        """The active service of this name."""
        return next((one for one in self.services if one.name == name), None)

    def members(self, group: str) -> tuple[Service, ...]:
        """The active services of a group."""
        return tuple(one for one in self.services if one.group == group)


def instance_name(project: str, service: str, replica: int = 1) -> str:
    """The sandbox's name of one instance; ``replica`` counts from 1."""
    return f"{project}.{service}" if replica == 1 else f"{project}.{service}.{replica}"


def instance_hostname(service: str, replica: int = 1) -> str:
    """What members of its group call one instance. Hostnames have no underscores (RFC 952), names of services may."""
    plain = service.replace("_", "-").rstrip("-")
    return plain if replica == 1 else f"{plain}-{replica}"


def volume_name(project: str, volume: str) -> str:
    """The store's volume of a project's named volume; outside of any project it has the name itself."""
    return f"{project}.{volume}" if project else volume


def network_group(project: str, group: str) -> str:
    """The networks' group of a project's group; "" for none."""
    return f"{project}.{group}" if group else ""
