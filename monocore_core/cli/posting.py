"""The services of a file of this host, for a daemon elsewhere: read here, with its variables, env files and secrets, and sent as one document."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve

from monocore_core.cli.elsewhere import refuse_local_image
from monocore_core.cli.failures import warn
from monocore_core.cli.services import shown
from monocore_core.client.remote import Remote
from monocore_core.config.project import Reading, load_project
from monocore_core.config.write import document_of
from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.secret import Secret, SecretEnvironment
from monocore_core.model.service import Project, Service
from monocore_core.model.volume import VolumeKind
from monocore_core.orchestrator.secrets import read_secrets


def posted(file: Path, profiles: list[str], environ: Mapping[str, str], remote: Remote) -> dict[str, object]:
    """What is sent of a file. Of the environment nothing goes along but what its services ask for.

    Args:
        file: that has the services.
        profiles: that are active.
        environ: variables that it may use.
        remote: to whom it is sent.

    Raises:
        ConfigError: with everything that is wrong, or is of this host. MonocoreError: a secret cannot be read.
    """
    project = load_project(file, Reading(environ, frozenset(profiles)), shown=shown(file))
    for text in project.warnings:
        warn(f"warning: {text}")
    _refuse_local(project, remote)
    project, values = asyncio.run(_with_values(project, environ))
    return {
        "document": document_of(project),
        "profiles": sorted({profile for service in project.services for profile in service.profiles}),
        "inactive": list(project.inactive),
        "environ": values,
    }


def _refuse_local(project: Project, remote: Remote) -> None:
    problems: list[str] = []
    for service in project.services:
        problems += [
            f"service {service.name!r}: {mount.source} is of this host"
            for mount in service.volumes
            if mount.kind is VolumeKind.HOST
        ]
        try:
            refuse_local_image(service.image, remote)
        except InvalidInput:
            problems.append(f"service {service.name!r}: image {service.image} is a file of this host")
    if problems:
        brief = f"the daemon at {remote.url} does not see the files of this host"
        hint = "named volumes stay with the daemon; send images with 'monocore images load'"
        raise ConfigError(brief, problems=tuple(problems), hint=hint)


async def _with_values(project: Project, environ: Mapping[str, str]) -> tuple[Project, dict[str, str]]:
    """The project with its secrets in variables, and these: the daemon has them in memory alone, and cannot read files and run programs of ours."""
    values: dict[str, str] = {}
    services: list[Service] = []
    for service in project.services:
        read = await read_secrets(service, environ)
        secrets: list[Secret] = []
        for secret in service.secrets:
            variable = _variable(service, secret)
            values[variable] = os.fsdecode(read.of(secret.name))
            secrets.append(evolve(secret, source=SecretEnvironment(variable)))
        services.append(evolve(service, secrets=tuple(secrets)))
    return evolve(project, services=tuple(services)), values


def _variable(service: Service, secret: Secret) -> str:
    """The same every time, so that what has not changed is left alone."""
    words = f"{service.name}\0{secret.name}".encode()
    return f"MONOCORE_SECRET_{hashlib.sha256(words).hexdigest()[:16].upper()}"
