"""The part of ``monocore.toml`` that is about one service: one class a table, one attribute a key; see :mod:`.tables`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from attrs import field, frozen

from monocore_core.config import forms
from monocore_core.model.health import RestartKind
from monocore_core.model.sandbox import PullPolicy
from monocore_core.model.service import Condition
from monocore_core.notation.form import ALIASES

Texts = tuple[forms.Text, ...]
Command = forms.Words | Texts
Environment = tuple[forms.EnvEntry, ...] | Mapping[str, forms.Plain]


@frozen
class ExtendsTable:
    """Another service whose keys one takes.

    Attributes:
        service: its name.
        file: that has it, relative to this one and not above its folder; this one where it is left out.
    """

    service: forms.Name
    file: forms.Filled | None = None


@frozen
class DependencyTable:
    """What a service waits for.

    Attributes:
        service: name of the service.
        condition: it was started, its health check succeeded, or it ended with 0.
    """

    service: forms.Name
    condition: Annotated[Condition, forms.choice(Condition)] = Condition.STARTED


@frozen
class RestartTable:
    """What becomes of a service that ended.

    Attributes:
        policy: `no`, `on-failure`, `on-failure:N` (N times in a row), `always` or `unless-stopped`.
        initial: wait before the first restart.
        maximum: longest wait.
        factor: by which each wait is longer than the one before.
        jitter: share of a wait by which chance changes it.
        reset_after: a run this long begins the count anew.
        unhealthy: whether a service whose health check fails is restarted as one that failed.
    """

    policy: Annotated[str, forms.RESTART] = RestartKind.NO.value
    initial: forms.SecondsOrZero = 0.5
    maximum: forms.SecondsOrZero = 60.0
    factor: forms.Factor = 2.0
    jitter: forms.Share = 0.1
    reset_after: forms.SecondsOrZero = 30.0
    unhealthy: forms.Switch = True


@frozen
class HealthTable:
    """How a service is asked whether it works; exactly one of `exec`, `http` and `tcp`.

    Attributes:
        exec: a command in the sandbox that ends with 0; text is run by `/bin/sh -c`.
        http: port and path in the sandbox that answer a GET request.
        status: of that answer.
        tcp: port in the sandbox that accepts a connection.
        interval: between two checks.
        timeout: of one check.
        retries: failures in a row that make it unhealthy.
        start_period: after the start, in which failures do not count.
        start_interval: between two checks in that time.
    """

    exec: forms.Text | Texts | None = None
    http: forms.HttpWord | None = None
    status: forms.StatusRange = (200, 399)
    tcp: forms.Port | None = None
    interval: forms.Seconds = 10.0
    timeout: forms.Seconds = 5.0
    retries: forms.Attempts = 3
    start_period: forms.SecondsOrZero = 0.0
    start_interval: forms.Seconds = 1.0


@frozen
class SecretTable:
    """A secret: exactly one of `file`, `environment` and `command` says where it is.

    Attributes:
        name: unique in the service.
        file: of the host; a relative path is relative to this file.
        environment: a variable of whoever starts the service.
        command: a program of the host that prints it; run without a shell, in this file's folder.
        target: name of the file in `/run/secrets`, a tmpfs; the secret's name where it is left out.
        variable: of the process's environment, instead of a file.
        mode: of the file; `"0400"` where it is left out.
        user: owner of the file; the process's user where it is left out.
        timeout: of `command`.
    """

    name: forms.Name
    file: forms.Filled | None = None
    environment: forms.Variable | None = None
    command: Command | None = None
    target: forms.Filled | None = None
    variable: forms.Variable | None = None
    mode: forms.FileMode | None = None
    user: forms.Text = ""
    timeout: forms.Seconds = 30.0


@frozen
class NetworkTable:
    """What a service asks of a network.

    Attributes:
        policy: `none` (no network device), `local` (its group alone), `public` (the internet, and nothing of the host) or `all`.
        rules: before the policy's own, in order: `"allow tcp *.debian.org:80,443"`.
        ingress: what others of the group may reach in it, in order, and nothing else.
        dns: servers to ask instead of the host's.
        dns_search: domains in which short names are looked up.
        download: most that it may receive.
        upload: most that it may send.
        packets: most packets a second, in each direction.
        mtu: bytes of the largest packet.
    """

    policy: forms.Filled | None = None
    rules: Texts = ()
    ingress: Texts = ()
    dns: Texts = ()
    dns_search: Texts = ()
    download: forms.Rate | None = None
    upload: forms.Rate | None = None
    packets: forms.PerSecond | None = None
    mtu: forms.Mtu | None = None


@frozen
class DiskLimitsTable:
    """What a service may do to its disk.

    Attributes:
        read: bytes a second.
        write: bytes a second.
        read_ops: requests a second.
        write_ops: requests a second.
    """

    read: forms.Rate | None = None
    write: forms.Rate | None = None
    read_ops: forms.PerSecond | None = None
    write_ops: forms.PerSecond | None = None


@frozen
class VolumeTable:
    """A volume, where its paths have colons in them.

    Attributes:
        source: path of the host, or name of a named volume.
        target: where it is mounted.
        readonly: whether it cannot be written.
    """

    source: forms.Filled
    target: forms.GuestPath
    readonly: forms.Switch = False


@frozen
class GroupMountTable:
    """Where a service mounts a volume of its group.

    Attributes:
        name: of the group's volume.
        mount: `"part:/guest"` or `"part:/guest:ro"`, the part relative to the volume, or an absolute path below it; `".:/guest"` is
            all of it, and `"/path"` one below it at the same place in the guest.
    """

    name: forms.Name
    mount: forms.Filled = field(metadata={ALIASES: ("path",)})


@frozen
class ServiceTable:
    """One service, `[[service]]`.

    Attributes:
        name: unique in the file; its hostname in its group.
        base: reference of the image.
        group: name of its group; without one it reaches no other service.
        extends: another service, by name or with its file, whose keys it takes. Its own keys go before; tables and lists of variables,
            volumes, secrets, labels and limits are joined, others replaced. `name` and `profiles` are not taken.
        profiles: it is started only when one of them is asked for.
        platform: of the image; the host's where it is left out.
        pull: when to ask the image's registry.
        entrypoint: replaces the image's; `[]` for none.
        command: replaces the image's command.
        args: further words of the command.
        user: name or number in the image, `user:group`.
        workdir: folder in the guest.
        envs: variables, over the group's and those of files; a list, or a table.
        env_files: files of variables, `NAME=value` a line; relative to this file.
        group_envs: names of environments of the group.
        cpus: virtual processors.
        cpu_fraction: host processors' worth of time that they may use together.
        ram: memory; 1024 MiB where it is left out.
        disk: size of a disk for writes; in memory where it is left out.
        disk_limits: what it may do to that disk.
        read_only: no writes to the image's file system.
        tmpfs: file systems in memory.
        volumes: `"/host:/guest"`, `"./relative:/guest"`, `"name:/guest"` (a named volume), each with `:ro` or not; `"/path"` alone is the same path
            at both ends.
        group_volumes: volumes of the group.
        port: published ports; one alone is the same at both ends. Without an address: every address of the host, and the loopback for services
            of a group that is local only.
        network: a table, or only its policy. Where it is left out: `local` in a group that is local only, `public` in another one or with ports, else none.
        rlimits: of the process.
        secrets: passed in without being seen.
        depends_on: services that must be there first, by name or with a condition.
        restart: a policy, or a table.
        healthcheck: how to ask whether it works.
        stop_signal: sent first to end it; the image's, or `SIGTERM`.
        stop_grace: until it is ended by force.
        timeout: after which a run is ended.
        idle_timeout: without a connection, output or command after which it is stopped.
        replicas: instances.
        init: whether the guest agent is PID 1.
        labels: for people and programs.
    """

    name: forms.Name
    base: forms.Filled | None = field(default=None, metadata={ALIASES: ("image",)})
    group: forms.Name | None = None
    extends: forms.Name | ExtendsTable | None = None
    profiles: tuple[forms.Name, ...] = ()
    platform: forms.PlatformWord | None = None
    pull: Annotated[PullPolicy, forms.choice(PullPolicy)] = PullPolicy.MISSING
    entrypoint: Command | None = None
    command: Command = ()
    args: Texts = ()
    user: forms.Text = ""
    workdir: forms.GuestPath | None = None
    envs: Environment = field(default=(), metadata={ALIASES: ("env",)})
    env_files: forms.Filled | tuple[forms.Filled, ...] = field(default=(), metadata={ALIASES: ("env_file",)})
    group_envs: tuple[forms.Name, ...] = ()
    cpus: forms.Cpus = 1
    cpu_fraction: forms.Processors | None = None
    ram: forms.Size | None = field(default=None, metadata={ALIASES: ("memory",)})
    disk: forms.Size | None = None
    disk_limits: DiskLimitsTable | None = None
    read_only: forms.Switch = False
    tmpfs: tuple[forms.Tmpfs, ...] = ()
    volumes: tuple[forms.Filled | VolumeTable, ...] = ()
    group_volumes: tuple[GroupMountTable, ...] = ()
    port: forms.PortWord | tuple[forms.PortWord, ...] = field(default=(), metadata={ALIASES: ("ports",)})
    network: forms.Filled | NetworkTable | None = None
    rlimits: tuple[forms.RlimitWord, ...] = ()
    secrets: tuple[SecretTable, ...] = ()
    depends_on: tuple[forms.Name | DependencyTable, ...] = ()
    restart: Annotated[str, forms.RESTART] | RestartTable = RestartKind.NO.value
    healthcheck: HealthTable | None = None
    stop_signal: forms.Signal | None = None
    stop_grace: forms.SecondsOrZero = 10.0
    timeout: forms.Seconds | None = None
    idle_timeout: forms.Seconds | None = None
    replicas: forms.Replicas = 1
    init: forms.Switch = True
    labels: Mapping[str, forms.Plain] = field(factory=dict[str, str])
