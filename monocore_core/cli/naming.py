"""From a name on the command line to a sandbox: its own, or that of a service of the project here."""

from __future__ import annotations

import os
from pathlib import Path

from monocore_core.cli.globals import Globals
from monocore_core.client.api import Api, target
from monocore_core.client.tables import text
from monocore_core.config.find import FILE_NAME
from monocore_core.errors import NotFound


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
            if not Path(options.config or FILE_NAME).is_file():
                raise
            service = f"{project_name(options.config or FILE_NAME)}.{name}"
            try:
                return text(api.call("GET", target("sandboxes", service)), "id", service)
            except NotFound:
                pass
            raise
    service = f"{project_name(file)}.{name}"
    return text(api.call("GET", target("sandboxes", service)), "id", service)


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
    from monocore_core.config.project import Reading, load_project

    path = Path(file)
    if not path.is_file():
        raise NotFound(f"file {path} does not exist")
    project = load_project(path, Reading(os.environ), shown=file)
    return project.name, [service.name for service in project.services]
