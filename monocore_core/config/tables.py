"""The shape of ``monocore.toml``, and of the same as JSON: one class a table, one attribute a key.

What stands here is what a file may say; :mod:`.resolve` makes :mod:`monocore_core.model.service`'s values of it. The reader, the JSON Schema and the
tables of the documentation all come from these classes. A key's other names are in its metadata, under ``ALIASES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from attrs import field, frozen

from monocore_core.config import forms
from monocore_core.config.service_tables import Environment, ServiceTable
from monocore_core.config.values import Backends, VolumePolicy
from monocore_core.model.security import Security
from monocore_core.notation.form import ALIASES, Json
from monocore_core.schema import json_schema

Plugins = Mapping[str, Mapping[str, object]]


@frozen
class GroupVolumeTable:
    """A volume that services of a group may mount, `[[group.volume]]`.

    Attributes:
        name: unique in the group.
        path: folder of the host, absolute or relative to this file, or the name of a named volume.
    """

    name: forms.Name
    path: forms.Filled


@frozen
class GroupEnvTable:
    """Variables that services of a group may take, `[[group.env]]`.

    Attributes:
        name: unique in the group.
        envs: a list, or a table.
    """

    name: forms.Name
    envs: Environment = ()


@frozen
class GroupTable:
    """Services that reach one another, `[[group]]`.

    Attributes:
        name: unique in the file.
        local_only: its services reach one another and nothing else, and their ports are published at the loopback, where they do not say otherwise.
        volume: volumes that they may mount.
        env: environments that they may take.
    """

    name: forms.Name
    local_only: forms.Switch = True
    volume: tuple[GroupVolumeTable, ...] = field(default=(), metadata={ALIASES: ("volumes",)})
    env: tuple[GroupEnvTable, ...] = field(default=(), metadata={ALIASES: ("envs",)})


@frozen
class DaemonTable:
    """The daemon, `[daemon]`.

    Attributes:
        socket: its Unix socket; a relative path is relative to the home folder.
        listen: TCP addresses it listens on besides, with tokens: `"127.0.0.1:3456"`.
        tls: it speaks TLS there, with a certificate of its own where none is given.
        tls_cert: PEM file of a certificate with its chain.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file; clients need a certificate that one of these has signed.
        hosts: names of this host that clients use, beside its addresses and `localhost`.
        allow_plain_text: it listens without TLS where other hosts can reach it, too, and read tokens.
        idle_exit: without requests and without anything that runs after which it ends; 0 for never.
        log_max_size: of one log file before it is rotated; 10 MiB where it is left out.
        log_retention: that logs are kept; 0 for ever.
        log_total_size: of all logs of one service; 100 MiB where it is left out.
        log_format: of its own log, `text` or `json`.
        metrics_interval: between two samples of a sandbox.
        metrics_history: that samples are kept.
        traces: a collector of OpenTelemetry, `"http://127.0.0.1:4318/v1/traces"`; needs the extra `otel`.
        stop_grace: that it waits for requests in flight when it is told to end.
    """

    socket: forms.Filled | None = None
    listen: tuple[forms.Listen, ...] = ()
    tls: forms.Switch = False
    tls_cert: forms.Filled | None = None
    tls_key: forms.Filled | None = None
    tls_client_ca: forms.Filled | None = None
    hosts: tuple[forms.Filled, ...] = ()
    allow_plain_text: forms.Switch = False
    idle_exit: forms.SecondsOrZero = 0.0
    log_max_size: forms.Size | None = None
    log_retention: forms.SecondsOrZero = 7 * 86400.0
    log_total_size: forms.Size | None = None
    log_format: Annotated[str, forms.LOG_FORMAT] = "text"
    metrics_interval: forms.Seconds = 10.0
    metrics_history: forms.SecondsOrZero = 600.0
    traces: forms.Filled | None = None
    stop_grace: forms.SecondsOrZero = 10.0


@frozen
class PoolTable:
    """Machines that the daemon keeps ready, `[pool]`.

    Attributes:
        size: spares of each image in each shape, and one of the shape for other images; 0: there is no pool.
        shapes: for how many shapes and images, those that were started last.
        idle: after the last start of a shape until its spares are ended.
        memory: that all spares may take together; 1 GiB where it is left out.
        reserve: memory that the host must have left: with less, spares are ended, and none is made; 1 GiB where it is left out.
        pressure: percent of time in which something on the host waits for memory above which spares are ended.
    """

    size: Annotated[int, forms.count(0, 64)] = 1
    shapes: Annotated[int, forms.count(1, 64)] = 4
    idle: forms.Seconds = 600.0
    memory: forms.Size | None = None
    reserve: forms.Size | None = None
    pressure: Annotated[float, forms.fraction(0.1, 100)] = 10.0


@frozen
class Document:
    """A whole `monocore.toml`.

    Attributes:
        project: name of the project; its folder's where it is left out.
        service: services.
        group: groups.
        daemon: the daemon.
        pool: machines that it keeps ready.
        home: folder of the store.
        backends: which backend of each interface to use.
        plugins: options by backend.
        volumes: what of the host may be shared.
        security: how the processes of VMMs are confined.
    """

    project: forms.ProjectName | None = None
    service: tuple[ServiceTable, ...] = field(default=(), metadata={ALIASES: ("services",)})
    group: tuple[GroupTable, ...] = field(default=(), metadata={ALIASES: ("groups",)})
    daemon: DaemonTable | None = None
    pool: PoolTable | None = None
    home: str = ""
    backends: Backends = field(factory=Backends)
    plugins: Plugins = field(factory=dict[str, Mapping[str, object]])
    volumes: VolumePolicy = field(factory=VolumePolicy)
    security: Security = field(factory=Security)


def document_schema() -> dict[str, Json]:
    """The JSON Schema of a whole document."""
    return json_schema(Document, title="monocore.toml", nulls=False)
