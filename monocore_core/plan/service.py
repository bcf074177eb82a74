"""From a service to what its instances are run by, and to a digest that changes when they are out of date. Pure.

Names on the host begin with the project's, so that projects do not meet: an instance of ``web`` in the project ``shop`` is the sandbox
``shop.web`` (the second one ``shop.web.2``), the group ``back`` is the networks' group ``shop.back``. In its group, the first instance's
hostname is ``web``, the second one's ``web-2``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from attrs import evolve

from monocore_core.errors import InvalidInput, Unsupported
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.network import NetworkRequest
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.model.secret import SECRETS_FOLDER, SECRETS_SIZE
from monocore_core.model.service import Project, Service
from monocore_core.model.volume import in_order
from monocore_core.serde import unstructure

#: Of the digest's input; raised when the same service would give another instance.
_HASH_VERSION = 1
_NO_DIGESTS: Mapping[str, str] = {}


def instance_name(project: str, service: str, replica: int = 1) -> str:
    """The sandbox's name of one instance; ``replica`` counts from 1."""
    return f"{project}.{service}" if replica == 1 else f"{project}.{service}.{replica}"


def instance_hostname(service: str, replica: int = 1) -> str:
    """What members of its group call one instance. Hostnames have no underscores (RFC 952), names of services may."""
    plain = service.replace("_", "-").rstrip("-")
    return plain if replica == 1 else f"{plain}-{replica}"


def network_group(project: str, group: str) -> str:
    """The networks' group of a project's group; "" for none."""
    return f"{project}.{group}" if group else ""


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
        raise InvalidInput(f"service {service.name!r} has {service.replicas} replicas, and no {replica}.")
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
    table = unstructure(plain)
    assert isinstance(table, dict)  # noqa: S101 - for the type checkers: attrs values become tables
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
