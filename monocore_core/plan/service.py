"""From a service to what its instances are run by, and to a digest that changes when they are out of date. Pure.

Their names are :func:`~monocore_core.model.service.instance_name`'s and its neighbours'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

from attrs import evolve

from monocore_core.errors import InvalidInput, Unsupported
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.network import NetworkRequest
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.model.secret import SECRETS_FOLDER, SECRETS_SIZE
from monocore_core.model.service import (
    Project,
    Service,
    instance_hostname,
    instance_name,
    network_group,
)
from monocore_core.model.volume import in_order
from monocore_core.serde import unstructure

#: Of the digest's input; raised when the same service would give another instance.
_HASH_VERSION = 1
_NO_DIGESTS: Mapping[str, str] = {}


def sandbox_request(project: Project, service: Service, replica: int = 1) -> SandboxRequest:
    """The sandbox of one instance. It outlives the program that starts it.

    Args:
        project: of the service.
        service: what to run.
        replica: from 1 to ``service.replicas``.

    Raises:
        InvalidInput: there is no such replica, or the service's values are out of bounds.
        Unsupported: the service wants to be PID 1, which the guest agent is.
    """
    if not 1 <= replica <= max(service.replicas, 1):
        raise InvalidInput(
            f"service {service.name!r} has {service.replicas} replicas, and no number {replica}"
        )
    if not service.init:
        raise Unsupported(
            f"service {service.name!r}: init = false: the guest agent is PID 1 of every sandbox",
            hint="leave it out, or let 'command' start the program that does not insist on being PID 1",
        )
    secrets = (
        (TmpfsMount(SECRETS_FOLDER, SECRETS_SIZE),) if any(one.target for one in service.secrets) else ()
    )
    return SandboxRequest(
        image=service.image,
        platform=service.platform,
        pull=service.pull,
        name=instance_name(project.name, service.name, replica),
        hostname=instance_hostname(service.name, replica),
        vcpus=service.cpus,
        memory=service.memory,
        disk=service.disk,
        disk_limits=service.disk_limits,
        readonly=service.readonly,
        tmpfs=(*service.tmpfs, *secrets),
        volumes=in_order(service.volumes),
        network=_network(project, service, replica),
        foreground=False,
    )


def command_request(service: Service) -> CommandRequest:
    """The process of each instance; secrets that are variables are added by whoever starts it, who alone reads them."""
    return CommandRequest(
        args=service.command,
        entrypoint=service.entrypoint,
        env=service.env,
        cwd=service.workdir,
        user=service.user,
        rlimits=service.rlimits,
    )


def config_hash(service: Service, digests: Mapping[str, str] = _NO_DIGESTS) -> str:
    """A digest (SHA-256, in hex) over everything of a service that makes a running instance out of date.

    How it is supervised (restart policy, health check, dependencies, stop, timeouts, replicas), to which profiles it belongs and its
    labels are not in it: they take effect without a replacement. Nor is the image's digest, which the store knows.

    Args:
        service: as configured; two that are equal have one hash, whatever the order of variables was.
        digests: of the secrets' values, by their names: keyed digests (HMAC), lest a short secret be guessed from a plain one. Values
            themselves do not come here.
    """
    plain = evolve(service, env=tuple(sorted(service.env)), volumes=in_order(service.volumes))
    table = cast("dict[str, object]", unstructure(plain))
    kept = {key: value for key, value in table.items() if key not in _SUPERVISION}
    document = {
        "version": _HASH_VERSION,
        "service": kept,
        "secrets": {secret.name: digests.get(secret.name, "") for secret in service.secrets},
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


_SUPERVISION = frozenset(
    {
        "name",
        "depends_on",
        "healthcheck",
        "idle_timeout",
        "labels",
        "profiles",
        "pull",
        "replicas",
        "restart",
        "stop_grace",
        "stop_signal",
        "timeout",
    }
)


def _network(project: Project, service: Service, replica: int) -> NetworkRequest | None:
    network = service.network
    if network is None:
        return None
    return NetworkRequest(
        group=network_group(project.name, service.group),
        hostname=instance_hostname(service.name, replica),
        policy=network.policy,
        publish=service.ports,
        ingress=network.ingress,
        dns=network.dns,
        limits=network.limits,
        mtu=network.mtu,
    )
