"""From a project back to the document that gives it: the inverse of :mod:`.project`, complete and without references. Pure.

Everything is said: paths are absolute, variables filled in, what a group gives is the service's own. It is what ``config show`` prints, and what one program
tells another to run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import attrs

from monocore_core.config.interpolate import escape
from monocore_core.config.values import Settings
from monocore_core.model.health import ExecProbe, Healthcheck, HttpProbe, RestartPolicy
from monocore_core.model.network import Limits, Publish
from monocore_core.model.policy import PROFILES, Policy, parse_policy
from monocore_core.model.sandbox import MIB
from monocore_core.model.secret import Secret, SecretCommand, SecretEnvironment, SecretFile
from monocore_core.model.service import (
    Condition,
    Dependency,
    DiskLimits,
    Group,
    Project,
    Service,
    ServiceNetwork,
    volume_name,
)
from monocore_core.model.volume import VolumeMount
from monocore_core.notation.form import Json

Table = dict[str, Json]


def document_of(project: Project) -> Table:
    """The document of a project.

    :func:`~monocore_core.config.project.parse_project` makes an equal project of it, but for services that are inactive, the source and the
    warnings; it needs the profiles of the services.
    """
    return _without_nothing(
        {
            "project": project.name,
            "service": [_service(service, project.name) for service in project.services],
            "group": [_group(group, project.name) for group in project.groups],
        }
    )


def _service(service: Service, project: str) -> Table:
    return _without_nothing(
        {
            "name": service.name,
            "base": escape(service.image),
            "group": service.group,
            "profiles": service.profiles,
            "platform": str(service.platform),
            "pull": service.pull.value,
            "entrypoint": None
            if service.entrypoint is None
            else [escape(word) for word in service.entrypoint],
            "command": [escape(word) for word in service.command],
            "user": escape(service.user),
            "workdir": escape(service.workdir),
            "envs": [escape(text) for text in service.env],
            "cpus": service.cpus,
            "cpu_fraction": service.cpu_fraction,
            "ram": _size(service.memory),
            "disk": None if service.disk is None else _size(service.disk),
            "disk_limits": _disk_limits(service.disk_limits),
            "read_only": service.readonly,
            "tmpfs": [f"{one.target}:size={one.size}b" if one.size else one.target for one in service.tmpfs],
            "volumes": [_volume(mount, project) for mount in service.volumes],
            "port": [_port(publish) for publish in service.ports],
            "network": "none" if service.network is None else _network(service.network),
            "rlimits": [f"{one.name}={one.soft}:{one.hard}" for one in service.rlimits],
            "secrets": [_secret(secret) for secret in service.secrets],
            "depends_on": [_dependency(link) for link in service.depends_on],
            "restart": _restart(service.restart),
            "healthcheck": None if service.healthcheck is None else _healthcheck(service.healthcheck),
            "stop_signal": service.stop_signal,
            "stop_grace": service.stop_grace,
            "timeout": service.timeout,
            "idle_timeout": service.idle_timeout,
            "replicas": service.replicas,
            "labels": {name: escape(value) for name, value in service.labels.items()},
        }
    ) | {"init": service.init}


def _without_nothing(table: Mapping[str, Json]) -> Table:
    """Without what is empty, none or false, all of which are the defaults; an empty entrypoint and 0 say something."""
    return {
        key: value
        for key, value in table.items()
        if value
        or (value == 0 and not isinstance(value, bool) and key in _ZERO)
        or (key == "entrypoint" and value is not None)
    }


_ZERO = frozenset({"replicas", "stop_grace"})


def _size(size: int) -> str:
    return f"{size // MIB}MiB" if size % MIB == 0 else f"{size}b"


def _rate(rate: int) -> int | None:
    return rate or None


def _port(publish: Publish) -> str:
    address = f"[{publish.address}]" if publish.address.version == 6 else str(publish.address)
    return f"{address}:{publish.host or ''}:{publish.guest}/{publish.protocol}"


def _volume(mount: VolumeMount, project: str) -> Json:
    source, target = escape(mount.source.removeprefix(volume_name(project, ""))), escape(mount.target)
    if ":" in f"{source}{target}":
        return _without_nothing({"source": source, "target": target, "readonly": mount.readonly})
    return f"{source}:{target}{':ro' if mount.readonly else ''}"


def _policy(policy: Policy) -> tuple[str, list[str]]:
    """The profile and the rules of one's own of which :func:`~monocore_core.model.policy.parse_policy` makes this policy."""
    rules = [str(rule) for rule in policy.rules]
    for count in range(len(rules), -1, -1):
        for profile in (policy.name, *PROFILES):
            if profile in PROFILES and parse_policy(profile, rules[:count]) == policy:
                return profile, rules[:count]
    return ("local" if policy.default.value == "deny" else "all"), rules


def _network(network: ServiceNetwork) -> Table:
    profile, rules = _policy(network.policy)
    return _without_nothing(
        {
            "policy": profile,
            "rules": rules,
            "ingress": None if network.ingress is None else [str(rule) for rule in network.ingress.rules],
            "dns": [str(server) for server in network.dns.servers],
            "dns_search": list(network.dns.search),
            **_limits(network.limits),
            "mtu": network.mtu,
        }
    )


def _limits(limits: Limits) -> Table:
    return {"download": _rate(limits.download), "upload": _rate(limits.upload), "packets": limits.packets}


def _disk_limits(limits: DiskLimits) -> Table:
    return {key: value for key, value in attrs.asdict(limits).items() if value}


def _secret(secret: Secret) -> Table:
    table: Table = {
        "name": secret.name,
        "target": escape(secret.target),
        "variable": secret.variable,
        "user": secret.user,
    }
    if secret.target:
        table["mode"] = f"{secret.mode:04o}"
    match secret.source:
        case SecretFile(path=path):
            table["file"] = escape(str(path))
        case SecretEnvironment(variable=variable):
            table["environment"] = variable
        case SecretCommand():
            table["command"] = [escape(word) for word in secret.source.command]
            table["timeout"] = secret.source.timeout
    return _without_nothing(table)


def _dependency(link: Dependency) -> Json:
    return (
        link.service
        if link.condition is Condition.STARTED
        else {"service": link.service, "condition": link.condition.value}
    )


def _restart(policy: RestartPolicy) -> Table:
    backoff = policy.backoff
    return {
        "policy": str(policy),
        "initial": backoff.initial,
        "maximum": backoff.maximum,
        "factor": backoff.factor,
        "jitter": backoff.jitter,
        "reset_after": backoff.reset_after,
        "unhealthy": policy.unhealthy,
    }


def _healthcheck(check: Healthcheck) -> Table:
    probe: Table
    match check.probe:
        case ExecProbe(command=command):
            probe = {"exec": [escape(word) for word in command]}
        case HttpProbe(port=port, path=path):
            probe = {
                "http": f"{port}{escape(path)}",
                "status": f"{check.probe.status_min}-{check.probe.status_max}",
            }
        case _:
            probe = {"tcp": check.probe.port}
    return probe | {
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
        "start_interval": check.start_interval,
    }


def _group(group: Group, project: str) -> Table:
    return {
        "name": group.name,
        "local_only": group.local_only,
        "volume": [
            {"name": one.name, "path": escape(one.path.removeprefix(volume_name(project, "")))}
            for one in group.volumes
        ],
        "env": [{"name": one.name, "envs": [escape(text) for text in one.envs]} for one in group.envs],
    }


def settings_document(settings: Settings) -> Table:
    """What of a document is not about services."""
    daemon = settings.daemon
    return {
        "home": str(settings.home),
        "backends": attrs.asdict(settings.backends),
        "plugins": {name: dict(cast("Table", table)) for name, table in settings.plugins.items()},
        "volumes": {"allow": list(settings.volumes.allow)},
        "security": {
            "jail": settings.security.jail.value,
            "require": [layer.value for layer in settings.security.require],
        },
        "daemon": _without_nothing(
            {
                **attrs.asdict(daemon),
                "listen": list(daemon.listen),
                "log_max_size": _size(daemon.log_max_size),
                "log_total_size": _size(daemon.log_total_size),
            }
        ),
        "pool": {
            **attrs.asdict(settings.pool),
            "memory": _size(settings.pool.memory),
            "reserve": _size(settings.pool.reserve),
        },
    }


#: Names of variables and options whose values are not for everyone's eyes.
_SECRET = re.compile(
    r"pass(w|wd|word|phrase)?($|_)|secret|token|credential|private|(api|access|auth|encryption)_?key|_key$|^key$",
    re.IGNORECASE,
)
MASK = "********"


def masked(table: Mapping[str, Json]) -> Table:
    """A document in which the values of variables and options that are secrets by their names are masked."""
    return {key: _masked(key, value) for key, value in table.items()}


def _masked(key: str, value: Json) -> Json:
    if key == "envs" and isinstance(value, list):
        return [_masked_variable(str(text)) for text in value]
    if isinstance(value, Mapping):
        return masked(value)
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return [masked(cast("Table", one)) for one in value]
    return (
        MASK if isinstance(value, str) and value and key not in _REFERENCES and _SECRET.search(key) else value
    )


#: Keys that name where a secret is, and hold none.
_REFERENCES = frozenset({"auth_file", "secrets"})


def _masked_variable(text: str) -> str:
    name, equals, value = text.partition("=")
    return f"{name}{equals}{MASK}" if value and _SECRET.search(name) else text
