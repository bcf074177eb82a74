"""Projects for tests: of texts of ``monocore.toml``, with files that are no files, or everything that is said of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from attrs import evolve, field, frozen

from monocore_core.config.check import Host
from monocore_core.config.project import Reading, load_project
from monocore_core.config.tree import Origin
from monocore_core.errors import ConfigError, NotFound
from monocore_core.model.service import Project, Service

#: Where the texts are said to be.
FOLDER = Path("/srv/shop")
#: 8 processors, 16 GiB.
HOST = Host(8, 16 * 2**30)
_NOTHING: Mapping[str, str] = {}


@frozen
class Given:
    """What a text is read with.

    Attributes:
        files: texts of files beside it, by name.
        environ: variables.
        profiles: that are active.
        host: what it must fit on.
        name: of the file.
    """

    files: Mapping[str, str] = field(default=_NOTHING)
    environ: Mapping[str, str] = field(default=_NOTHING)
    profiles: tuple[str, ...] = ()
    host: Host | None = HOST
    name: str = "monocore.toml"


_PLAIN = Given()


def project_of(text: str, given: Given = _PLAIN) -> Project:
    """The project of a text in :data:`FOLDER`."""
    known = {given.name: text, **given.files}

    def read(path: str, origin: Origin) -> str:
        name = str((origin.folder / path).relative_to(FOLDER))
        if name not in known:
            raise NotFound(f"file {path} does not exist")
        return known[name]

    reading = Reading(given.environ, frozenset(given.profiles), given.host, read)
    return load_project(FOLDER / given.name, reading, shown=given.name)


def service_of(keys: str, given: Given = _PLAIN) -> Service:
    """The service of the lines of its table; it has a name (``web``) and an image."""
    return project_of(f'[[service]]\nname = "web"\nbase = "alpine"\n{keys}', given).services[0]


def problems_of(text: str, given: Given = _PLAIN) -> list[str]:
    """Everything that is wrong with a text, as a person is told."""
    try:
        project_of(text, given)
    except ConfigError as error:
        return list(error.problems or (error.brief,))
    return []


def same(one: Project, other: Project) -> bool:
    """Whether two projects are equal but for where they come from, and what is inactive in them."""
    return evolve(one, source=None, warnings=(), inactive=()) == evolve(
        other, source=None, warnings=(), inactive=()
    )


def changed(service: Service, changes: Mapping[str, object]) -> Service:
    """The service with other values of these attributes; for tests that go through all of them."""
    return cast("Callable[..., Service]", evolve)(service, **changes)
