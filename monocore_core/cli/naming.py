"""From a name on the command line to a sandbox: its own, or that of a service of the project here."""

from __future__ import annotations

import os
from collections.abc import Sequence

from monocore_core.cli.globals import Globals
from monocore_core.client.api import Api, target
from monocore_core.client.tables import inner, tables, text
from monocore_core.config.find import FILE_NAME
from monocore_core.errors import NotFound

#: Labels of services' sandboxes (:mod:`monocore_core.orchestrator.labels`, whose import takes long).
_PROJECT, _SERVICE, _INSTANCE = "monocore.project", "monocore.service", "monocore.instance"


def named(api: Api, name: str, file: str | None, options: Globals) -> str:
    """The id of the sandbox: that of the service of this name, when a file is named; else the sandbox's, else the service's.

    Raises:
        NotFound: there is none.
        ConfigError: the file cannot be read.
    """
    if file is None:
        try:
            return text(api.call("GET", target("sandboxes", name)), "id", name)
        except NotFound:
            if not os.path.isfile(options.config or FILE_NAME):
                raise
            service = f"{project_name(options.config or FILE_NAME)}.{name}"
            try:
                return text(api.call("GET", target("sandboxes", service)), "id", service)
            except NotFound:
                pass
            raise
    service = f"{project_name(file)}.{name}"
    return text(api.call("GET", target("sandboxes", service)), "id", service)


def instances(api: Api, name: str, file: str | None, options: Globals) -> list[tuple[str, str]]:
    """(name to show, id) of the sandbox of this name, or of every instance of the service of this name; as :func:`named` looks for it.

    Raises:
        NotFound: there is none. ConfigError: the file cannot be read.
    """
    if file is None:
        try:
            found = api.call("GET", target("sandboxes", name))
            return [(name, text(found, "id", name))]
        except NotFound:
            file = options.config or FILE_NAME
            if not os.path.isfile(file):
                raise
            members = instances_of(api, file, [name])
            if not members:
                raise
            return members
    members = instances_of(api, file, [name])
    if not members:
        raise NotFound(
            f"there is no sandbox of service {name[:80]!r}", hint="'monocore status' shows the services"
        )
    return members


def instances_of(api: Api, file: str, services: Sequence[str]) -> list[tuple[str, str]]:
    """(name without the project's, id) of the sandboxes of services of a file, in their order."""
    project = project_name(file)
    where = target("sandboxes", all=True, label=[f"{_PROJECT}={project}"])
    found: list[tuple[int, int, str, str]] = []
    for sandbox in tables(api.call("GET", where), "sandboxes"):
        labels = inner(sandbox, "labels")
        service, number = text(labels, _SERVICE), text(labels, _INSTANCE)
        if service in services:
            place = int(number) if number.isascii() and number.isdecimal() else 0
            shown = text(sandbox, "name").removeprefix(f"{project}.")
            found.append((services.index(service), place, shown, text(sandbox, "id")))
    return [(shown, identity) for _, _, shown, identity in sorted(found)]


def services_of(file: str) -> list[str]:
    """The names of the services of a file.

    Raises:
        NotFound: there is no such file. ConfigError: it is wrong.
    """
    return _project(file)[1]


def project_name(file: str) -> str:
    """The name of the project that a file describes.

    Raises:
        NotFound: there is no such file. ConfigError: it is wrong.
    """
    return _project(file)[0]


def _project(file: str) -> tuple[str, list[str]]:
    from pathlib import Path

    from monocore_core.config.project import Reading, load_project

    path = Path(file)
    if not path.is_file():
        raise NotFound(f"file {path} does not exist")
    project = load_project(path, Reading(os.environ), shown=file)
    return project.name, [service.name for service in project.services]
