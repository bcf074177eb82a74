"""Parts of a service that stand alone: its image, variables, secrets, health check, resource limits. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from monocore_core.command import parse_env_file
from monocore_core.config.service_tables import HealthTable, SecretTable, ServiceTable
from monocore_core.config.tree import Node, Place, Problems
from monocore_core.errors import InvalidInput
from monocore_core.model.guest import Rlimit
from monocore_core.model.health import ExecProbe, Healthcheck, HttpProbe, Probe, TcpProbe
from monocore_core.model.secret import (
    SECRETS_FOLDER,
    Secret,
    SecretCommand,
    SecretEnvironment,
    SecretFile,
    SecretSource,
)
from monocore_core.notation.variables import expand_env
from monocore_core.reference import parse_reference

_SHELL = ("/bin/sh", "-c")
#: ``oci-archive:./app.tar``: a path that is relative to the file, after the scheme of an image source.
_RELATIVE = re.compile(r"([a-z][a-z0-9+.-]*):(\.\.?/.*)", re.DOTALL)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:[^\s].*", re.DOTALL)
_ID = re.compile(r"[0-9a-f]{6,64}")


def image_of(table: ServiceTable, node: Node, problems: Problems) -> str:
    """The reference of a service's image. Which schemes there are is known by the installed image sources alone."""
    if table.base is None:
        return ""
    place = node.at("base")
    relative = _RELATIVE.fullmatch(table.base)
    if relative:
        return f"{relative[1]}:{absolute(relative[2], place)}"
    if not _ID.fullmatch(table.base) and not _SCHEME.fullmatch(table.base):
        try:
            parse_reference(table.base)
        except InvalidInput as error:
            problems.refused(place, error)
    return table.base


def absolute(path: str, place: Place) -> str:
    """A path of the host, relative to its file's folder, without ``..``."""
    return "/" + posixpath.normpath(posixpath.join(place.origin.folder.as_posix(), path)).lstrip("/")


def variables(
    envs: tuple[str, ...] | Mapping[str, str], node: Node, environ: Mapping[str, str], problems: Problems
) -> tuple[str, ...]:
    """``NAME=value`` of a list or a table, each name once.

    Args:
        envs: as read.
        node: the table that has it under ``envs``.
        environ: for a name without a value, which is left out when it is not there.
        problems: gets what is wrong.
    """
    listed: Iterable[tuple[str | int, str]]
    if isinstance(envs, Mapping):
        listed = [(name, f"{name}={value}") for name, value in envs.items()]
    else:
        listed = list(enumerate(envs))
    found: dict[str, str] = {}
    for key, text in listed:
        name = text.partition("=")[0]
        if name in found:
            problems.add_about(node.at("envs", key), f"variable {name[:80]!r} is set twice")
        try:
            value = expand_env(text, environ)
        except InvalidInput as error:
            problems.refused(node.at("envs", key), error)
            continue
        if value is not None:
            found[name] = value
    return tuple(found.values())


def env_lines(text: str, name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables of a file.

    Raises:
        InvalidInput: a line is none.
    """
    lines = (expand_env(line, environ) for line in parse_env_file(text, name))
    return tuple(line for line in lines if line is not None)


def unique_rlimits(table: ServiceTable, node: Node, problems: Problems) -> tuple[Rlimit, ...]:
    """The resource limits, each once."""
    found: dict[str, Rlimit] = {}
    for number, one in enumerate(table.rlimits):
        if one.name in found:
            problems.add_about(node.at("rlimits", number), f"resource limit {one.name!r} is given twice")
        found[one.name] = one
    return tuple(found.values())


def healthcheck_of(table: ServiceTable, node: Node, problems: Problems) -> Healthcheck | None:
    """The health check, or None."""
    wanted = table.healthcheck
    if wanted is None:
        return None
    probe = _probe(wanted, node, problems)
    if probe is None:
        return None
    return Healthcheck(
        probe,
        interval=wanted.interval,
        timeout=wanted.timeout,
        retries=wanted.retries,
        start_period=wanted.start_period,
        start_interval=wanted.start_interval,
    )


def _probe(wanted: HealthTable, node: Node, problems: Problems) -> Probe | None:
    parts = node.parts["healthcheck"].parts
    given = [key for key in ("exec", "http", "tcp") if key in parts]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given" if given else "none is given"
        problems.add(node.at("healthcheck"), f"one of exec, http and tcp is needed, and {said}")
        return None
    if wanted.exec is not None:
        words = (*_SHELL, wanted.exec) if isinstance(wanted.exec, str) else wanted.exec
        if not wanted.exec or not words[0]:
            problems.add(node.at("healthcheck", "exec"), "has no words")
            return None
        return ExecProbe(words)
    if wanted.http is not None:
        return HttpProbe(*wanted.http, *wanted.status)
    return None if wanted.tcp is None else TcpProbe(wanted.tcp)  # None: it was no port, which was told


def secrets_of(table: ServiceTable, node: Node, problems: Problems) -> tuple[Secret, ...]:
    """The secrets; names, files and variables are each unique."""
    found: list[Secret] = []
    seen: set[tuple[str, str]] = set()
    for number, one in enumerate(table.secrets):
        inner = node.parts["secrets"].elements[number]
        place = inner.place
        secret = _secret(one, inner, problems)
        if secret is None:
            continue
        for kind, value in (("name", secret.name), ("target", secret.target), ("variable", secret.variable)):
            if value and (kind, value) in seen:
                problems.add_about(place, f"two secrets have the {kind} {value!r}")
            seen.add((kind, value))
        found.append(secret)
    return tuple(found)


def _secret(one: SecretTable, node: Node, problems: Problems) -> Secret | None:
    place = node.place
    source = _source(one, node, problems)
    if one.target is not None and one.variable is not None:
        problems.add(place, "target and variable are both given")
        return None
    if source is None:
        return None
    if one.variable is not None:
        return Secret(one.name, source, variable=one.variable)
    target = posixpath.normpath(posixpath.join(SECRETS_FOLDER, one.target or one.name))
    if not target.startswith(f"{SECRETS_FOLDER}/"):
        problems.add(
            place, f"target {target!r} is not below {SECRETS_FOLDER}, the only folder that is in memory"
        )
        return None
    mode = 0o400 if one.mode is None else one.mode
    return Secret(one.name, source, target=target, mode=mode, user=one.user)


def _source(one: SecretTable, node: Node, problems: Problems) -> SecretSource | None:
    place = node.place
    given = [key for key in ("file", "environment", "command") if key in node.parts]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given" if given else "none is given"
        problems.add(place, f"one of file, environment and command is needed, and {said}")
        return None
    if one.file is not None:
        return SecretFile(Path(absolute(one.file, place)))
    if one.environment is not None:
        return SecretEnvironment(one.environment)
    if one.command is None:  # what is given was refused, which was told
        return None
    if not one.command or not one.command[0]:
        problems.add(place, "command has no words")
        return None
    return SecretCommand(one.command, place.origin.folder, one.timeout)


def refuse_shadowed(secrets: Iterable[Secret], env: Iterable[str], node: Node, problems: Problems) -> None:
    """A variable cannot be both a secret and plain."""
    plain = {text.partition("=")[0] for text in env}
    for number, secret in enumerate(secrets):
        if secret.variable in plain:
            problems.add_about(
                node.at("secrets", number), f"variable {secret.variable!r} is both a secret and set in clear"
            )
