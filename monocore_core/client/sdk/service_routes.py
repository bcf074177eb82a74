"""What the SDK asks of the daemon of services, as values (``docs/api.md``). Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from monocore_core.client.api import target
from monocore_core.client.sdk.calls import Call, same
from monocore_core.client.tables import Table, tables


@frozen
class Up:
    """How services are brought up.

    Attributes:
        services: these, and what they depend on; all when there are none.
        profiles: that are on.
        recreate: also what has not changed.
        remove_orphans: remove what the project does not have any more.
        wait: until they are healthy.
    """

    services: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    recreate: bool = False
    remove_orphans: bool = False
    wait: bool = False


def up(project: str | Path | Table, wanted: Up) -> Call[Table]:
    """Bring services up, of a file of this host or of a document; lines of what happens, the last has ``done`` or ``error``."""
    body: dict[str, object] = {
        "services": list(wanted.services),
        "profiles": list(wanted.profiles),
        "recreate": wanted.recreate,
        "remove_orphans": wanted.remove_orphans,
        "wait": wanted.wait,
    }
    if isinstance(project, str | Path):
        body.update(file=str(Path(project).absolute()), environ=dict(os.environ))
    else:
        body["document"] = dict(project)
    return Call("POST", target("projects", "up"), same, body, timeout=None)


def of_project(
    project: str, verb: str, services: Sequence[str], *, force: bool = False, grace: float | None = None
) -> Call[Table]:
    """``down``, ``restart`` or ``remove``; lines likewise."""
    body: dict[str, object] = {"services": list(services)}
    if grace is not None:
        body["grace"] = grace
    if force:
        body["force"] = True
    return Call("POST", target("projects", project, verb), same, body, timeout=None)


def project(name: str) -> Call[Table]:
    """A project's status."""
    return Call("GET", target("projects", name), same)


def projects() -> Call[tuple[Table, ...]]:
    """Every project's status."""
    return Call("GET", target("projects"), lambda table: tuple(tables(table, "projects")))
