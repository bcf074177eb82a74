"""One sandbox in the words of a service: what a program posts, to the order that the daemon keeps. Pure.

Worked example::

    {"image": "python:3.12", "command": ["python", "-m", "http.server"], "memory": "512MiB", "ports": ["8080:8000"],
     "environ": {"LEVEL": "9"}, "volumes": ["/srv/data:/data:ro"], "timeout": "10m", "remove": true}

The words, their parsers and what is made of them are those of ``[[service]]`` (:mod:`.tables`, :mod:`.resolve`); what is a service's alone is
refused with a word of where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import attrs
from attrs import evolve, field, frozen

from monocore_core.config import forms
from monocore_core.config.read import canonical, read_table
from monocore_core.config.resolve import Surroundings, resolve
from monocore_core.config.resolve_mounts import is_path
from monocore_core.config.service_tables import (
    Command,
    DiskLimitsTable,
    Environment,
    NetworkTable,
    ServiceTable,
    Texts,
    VolumeTable,
)
from monocore_core.config.source import refuse_files
from monocore_core.config.tree import Node, Origin, Problems, tree_of
from monocore_core.errors import InvalidInput
from monocore_core.model.network import NetworkRequest
from monocore_core.model.policy import DEFAULT_PROFILE, PROFILES
from monocore_core.model.record import HostLimits, SandboxOrder
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest
from monocore_core.model.service import Service, ServiceNetwork
from monocore_core.notation.form import ALIASES
from monocore_core.notation.network import parse_group
from monocore_core.notation.signals import signal_number

_NOTHING: Mapping[str, str] = {}
#: Keys that mean something only when there is a command.
_OF_COMMAND = ("args", "entrypoint", "envs", "user", "workdir", "rlimits")


@frozen
class SandboxTable:
    """One sandbox.

    Attributes:
        base: reference of the image.
        name: unique among the sandboxes; its id where it is left out.
        hostname: of the guest; its id where it is left out.
        platform: of the image; the host's where it is left out.
        pull: when to ask the image's registry.
        command: what it runs, and when that ends, it ends; `[]`: the image's own command. Left out: it runs until it is stopped.
        args: further words of the command.
        entrypoint: replaces the image's; `[]` for none.
        user: name or number in the image, `user:group`.
        workdir: folder in the guest.
        envs: variables of the command, over the image's; a list of `NAME=value`, or a table.
        rlimits: of the command.
        cpus: virtual processors.
        cpu_fraction: host processors' worth of time that they may use together.
        ram: memory; 512 MiB where it is left out.
        disk: size of a disk for writes; in memory where it is left out.
        disk_limits: what it may do to that disk.
        read_only: no writes to the image's file system.
        tmpfs: file systems in memory.
        volumes: `"/host:/guest"`, `"name:/guest"` (a named volume), each with `:ro` or not.
        port: published ports; one alone is the same at both ends.
        network: a table, or only its policy. Where it is left out: `public` with ports or a group, else none.
        group: of the networks; sandboxes of one group can reach one another.
        labels: for people and programs.
        timeout: after which a run is ended.
        idle_timeout: without output, further commands or anybody attached after which it is stopped.
        stop_signal: sent first to end it; the image's, or `SIGTERM`.
        stop_grace: until it is ended by force.
        remove: its record and log go when it ends.
    """

    base: forms.Filled = field(
        default="", metadata={ALIASES: ("image",)}
    )  # its absence is told under its usual name
    name: forms.Text = ""
    hostname: forms.Text = ""
    platform: forms.PlatformWord | None = None
    pull: Annotated[PullPolicy, forms.choice(PullPolicy)] = PullPolicy.MISSING
    command: Command | None = None
    args: Texts = ()
    entrypoint: Command | None = None
    user: forms.Text = ""
    workdir: forms.GuestPath | None = field(default=None, metadata={ALIASES: ("cwd",)})
    envs: Environment = field(default=(), metadata={ALIASES: ("environ", "env")})
    rlimits: tuple[forms.RlimitWord, ...] = ()
    cpus: forms.Cpus = 1
    cpu_fraction: forms.Processors | None = None
    ram: forms.Size | None = field(default=None, metadata={ALIASES: ("memory",)})
    disk: forms.Size | None = None
    disk_limits: DiskLimitsTable | None = None
    read_only: forms.Switch = False
    tmpfs: tuple[forms.Tmpfs, ...] = ()
    volumes: tuple[forms.Filled | VolumeTable, ...] = ()
    port: forms.PortWord | tuple[forms.PortWord, ...] = field(default=(), metadata={ALIASES: ("ports",)})
    network: forms.Filled | NetworkTable | None = None
    group: forms.Text = ""
    labels: Mapping[str, forms.Plain] = field(factory=dict[str, str])
    timeout: forms.Seconds | None = None
    idle_timeout: forms.Seconds | None = None
    stop_signal: forms.Signal | None = None
    stop_grace: forms.SecondsOrZero = 10.0
    remove: forms.Switch = False


def parse_sandbox(document: Mapping[str, object]) -> SandboxOrder:
    """The order that a document means. It reads no file and no variable; keys that are null are as if left out.

    Raises:
        ConfigError: with everything that is wrong, each with its path.
        InvalidInput: values that are good alone and not together.
    """
    problems = Problems()
    given = {key: value for key, value in document.items() if value is not None}
    root = tree_of(given, Origin("", Path("/")), problems)
    parts = _without_services(root, problems)
    node = Node(canonical(parts, SandboxTable, problems), root.place)
    table = read_table(node, SandboxTable, problems)
    if "base" not in node.parts:
        problems.add(root.place.below("image", 0), "is missing")
    service = _service(node, problems)
    network = _network(table, node, service, problems)
    _refuse_relative(table, node, problems)
    _refuse_idle_words(table, node, problems)
    try:
        order = _order(table, service, network)
    except InvalidInput:
        problems.raise_if_any(
            "the sandbox"
        )  # a value that could not be read may be the reason: it is told instead
        raise
    problems.raise_if_any("the sandbox")
    return order


def _without_services(root: Node, problems: Problems) -> Mapping[str, Node]:
    """The keys that are no service's alone; those are told."""
    names = {one.name for one in attrs.fields(SandboxTable)}
    alone = {one.name for one in attrs.fields(ServiceTable)} - names
    kept: dict[str, Node] = {}
    for key, part in root.parts.items():
        if key in alone:
            problems.add(part.place, "belongs to a service, which a project has (POST /v1/projects/up)")
        else:
            kept[key] = part
    return kept


def _service(node: Node, problems: Problems) -> Service:
    """What both have in common, read and resolved as a service's; its own reading is silent, for all of it was told before."""
    shared = {one.name for one in attrs.fields(ServiceTable)} - {"name", "group"}
    parts = {key: part for key, part in node.parts.items() if key in shared}
    inner = Node({**parts, "name": Node("sandbox", node.place)}, node.place)
    around = Surroundings("", {}, _NOTHING, refuse_files, problems)
    return resolve(read_table(inner, ServiceTable, Problems()), inner, around)


def _network(table: SandboxTable, node: Node, service: Service, problems: Problems) -> NetworkRequest | None:
    wanted = service.network
    if table.group:
        try:
            parse_group(table.group)
        except InvalidInput as error:
            problems.refused(node.at("group"), error)
        if wanted is None and table.network is not None:
            problems.add(node.at("group"), "there is no network to be in a group of")
        wanted = wanted or ServiceNetwork(PROFILES[DEFAULT_PROFILE])
    if wanted is None:
        return None
    return NetworkRequest(
        group=table.group,
        hostname=table.hostname,
        policy=wanted.policy,
        publish=service.ports,
        ingress=wanted.ingress,
        dns=wanted.dns,
        limits=wanted.limits,
        mtu=wanted.mtu,
    )


def _refuse_relative(table: SandboxTable, node: Node, problems: Problems) -> None:
    """A request has no folder that a path could be relative to."""
    for number, one in enumerate(table.volumes):
        source = one.source if isinstance(one, VolumeTable) else one.partition(":")[0]
        if is_path(source) and not source.startswith(("/", "~")):
            problems.add(
                node.at("volumes", number), f"{source[:200]!r} is relative: give a path from the root on"
            )
    scheme, colon, path = table.base.partition(":")
    if colon and scheme.isalnum() and path.startswith(("./", "../")):
        problems.add(node.at("base"), f"{path[:200]!r} is relative: give a path from the root on")


def _refuse_idle_words(table: SandboxTable, node: Node, problems: Problems) -> None:
    if table.command is None and "command" not in node.parts:
        for key in _OF_COMMAND:
            if key in node.parts:
                problems.add(
                    node.at(key), "there is no command to have it: give one, or [] for the image's own"
                )


def _order(table: SandboxTable, service: Service, network: NetworkRequest | None) -> SandboxOrder:
    request = SandboxRequest(
        image=service.image,
        platform=service.platform,
        pull=service.pull,
        name=table.name,
        hostname=table.hostname,
        vcpus=service.cpus,
        disk=service.disk,
        disk_limits=service.disk_limits,
        readonly=service.readonly,
        tmpfs=service.tmpfs,
        volumes=service.volumes,
        network=network,
        foreground=False,
    )
    if table.ram is not None:
        request = evolve(request, memory=table.ram)
    command = CommandRequest(
        args=service.command,
        entrypoint=service.entrypoint,
        env=service.env,
        cwd=service.workdir,
        user=service.user,
        rlimits=service.rlimits,
    )
    return SandboxOrder(
        request,
        None if table.command is None else command,
        labels=dict(table.labels),
        remove=table.remove,
        timeout=table.timeout,
        idle_timeout=table.idle_timeout,
        stop_signal=signal_number(service.stop_signal),
        stop_grace=table.stop_grace,
        limits=HostLimits(cpu=service.cpu_fraction),
    )
