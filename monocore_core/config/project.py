"""From a document to a :class:`~monocore_core.model.service.Project`, or everything that is wrong with it.

``monocore.toml``, or JSON of the same shape::

    [[service]]
    name = "web"
    base = "nginx:1.29"
    group = "shop"
    port = "8080:80"
    depends_on = ["db"]

    [[service]]
    name = "db"
    base = "postgres:17"
    group = "shop"
    envs = ["POSTGRES_PASSWORD=${PASSWORD:?set it}"]
    volumes = ["data:/var/lib/postgresql/data"]

    [[group]]
    name = "shop"

:func:`load_project` reads a file, :func:`parse_project` what a program has. Nothing else of monocore imports this when it starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from monocore_core.config import resolve_parts as parts
from monocore_core.config.check import Entry, Host, check, check_host
from monocore_core.config.extend import Extender
from monocore_core.config.interpolate import interpolate
from monocore_core.config.read import canonical, read_table
from monocore_core.config.resolve import ReadText, Surroundings, resolve
from monocore_core.config.resolve_mounts import source_of
from monocore_core.config.service_tables import ServiceTable
from monocore_core.config.source import parse_text, read_text, refuse_files
from monocore_core.config.tables import Document, GroupTable
from monocore_core.config.tree import Node, Origin, Place, Problems, lines_in_order, tree_of
from monocore_core.errors import InvalidInput
from monocore_core.model.service import MAX_PROJECT_NAME, Group, GroupEnv, GroupVolume, Project

#: Services, and groups, of one document.
MAX_SERVICES = 1000
_FILLED = ("project", "service", "group", "daemon", "pool")
_NO_ENVIRONMENT: Mapping[str, str] = {}


@frozen
class Reading:
    """How a document is read.

    Attributes:
        environ: variables that it may use.
        profiles: that are active.
        host: what it must fit on, or None not to look.
        read_text: reads env files and files that services extend.
        secrets: whether services may name files, variables and commands of this host as the source of a secret.
    """

    environ: Mapping[str, str] = field(default=_NO_ENVIRONMENT, repr=False)
    profiles: frozenset[str] = frozenset()
    host: Host | None = None
    read_text: ReadText = read_text
    secrets: bool = True


def load_project(path: Path, reading: Reading, *, shown: str = "") -> Project:
    """The services of a file: JSON when its name ends so, else TOML.

    Args:
        path: of the file.
        reading: how.
        shown: the file's name in messages; as ``path`` says it when left out.

    Raises:
        NotFound: there is no such file.
        ConfigError: with everything that is wrong, each with file and line.
    """
    absolute = path.absolute()
    origin = Origin(shown or str(path), absolute.parent)
    project = _project(_document(absolute.name, origin, reading), origin, reading)
    return evolve(project, source=absolute)


def parse_project(
    document: Mapping[str, object], reading: Reading, *, folder: Path, shown: str = ""
) -> Project:
    """The services of a document that a program has, as a parser of JSON gave it.

    Args:
        document: of the shape of ``monocore.toml``.
        reading: how; with :func:`~monocore_core.config.source.refuse_files` no file is read, as a request must not make a server do.
        folder: that relative paths are relative to, absolute.
        shown: what it is called in messages.

    Raises:
        ConfigError: with everything that is wrong, each with its path.
    """
    origin = Origin(shown, folder)
    problems = Problems()
    root = tree_of(document, origin, problems)
    problems.raise_if_any(shown or "the configuration")
    return _project(root, origin, reading)


def remote_reading(
    profiles: frozenset[str] = frozenset(), host: Host | None = None, *, secrets: bool = False
) -> Reading:
    """For a document of someone else: it may use neither variables nor files.

    Args:
        profiles: that are active.
        host: what it must fit on.
        secrets: only for who may read this user's files and run programs as this user anyway.
    """
    return Reading(profiles=profiles, host=host, read_text=refuse_files, secrets=secrets)


def _document(name: str, origin: Origin, reading: Reading) -> Node:
    """The tree of a file.

    Raises:
        ConfigError: it is not TOML or JSON; NotFound and others of ``reading.read_text``.
    """
    problems = Problems()
    raw, lines = parse_text(reading.read_text(name, origin), name, origin.shown)
    root = tree_of(raw, origin, problems, lines)
    problems.raise_if_any(origin.shown)
    return root


def _project(root: Node, origin: Origin, reading: Reading) -> Project:
    problems = Problems()
    filled = _filled_in(root, reading, problems)
    table = canonical(filled.parts, Document, problems)
    document = read_table(Node({**table, "service": Node([], root.place)}, root.place), Document, problems)
    name = document.project or project_name(origin.folder)
    groups = _groups(document.group, table.get("group"), name, reading, problems)
    entries = _services(table.get("service"), name, dict(_by_name(groups)), reading, problems)
    check(entries, groups, problems)
    active = [entry for entry in entries if entry.active]
    if reading.host is not None:
        check_host(active, reading.host, problems)
    problems.raise_if_any(origin.shown or "the configuration")
    return Project(
        name=name,
        services=tuple(entry.service for entry in active),
        groups=tuple(group for group, _ in groups),
        inactive=tuple(entry.service.name for entry in entries if not entry.active),
        warnings=lines_in_order(problems.warnings),
    )


def project_name(folder: Path) -> str:
    """The name of a project that has none: its folder's, in what names may have."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-_")
    return plain[:MAX_PROJECT_NAME].rstrip("-_") or "project"


def _filled_in(root: Node, reading: Reading, problems: Problems) -> Node:
    """The document with its variables, in what is about services; options of backends are left as they are."""
    table = root.parts
    names = (*_FILLED, "services", "groups")
    return Node(
        {
            key: interpolate(node, reading.environ, problems) if key in names else node
            for key, node in table.items()
        },
        root.place,
    )


def _groups(
    tables: Sequence[GroupTable], node: Node | None, project: str, reading: Reading, problems: Problems
) -> list[tuple[Group, Node]]:
    nodes = node.elements if node is not None else []
    if len(nodes) > MAX_SERVICES and node is not None:
        problems.add_about(node.place, f"{len(nodes)} groups are more than {MAX_SERVICES}")
    found: list[tuple[Group, Node]] = []
    for table, one in list(zip(tables, nodes, strict=True))[:MAX_SERVICES]:
        renamed = Node(canonical(one.parts, GroupTable, Problems()), one.place)
        found.append((_group(table, renamed, project, reading, problems), renamed))
    return found


def _group(table: GroupTable, node: Node, project: str, reading: Reading, problems: Problems) -> Group:
    volumes: dict[str, GroupVolume] = {}
    for number, one in enumerate(table.volume):
        place = node.at("volume", number, "path")
        if one.name in volumes:
            problems.add_about(node.at("volume", number, "name"), f"volume {one.name!r} is defined twice")
        if not one.path:  # missing, which was told
            continue
        try:
            volumes[one.name] = GroupVolume(one.name, source_of(one.path, place, project))
        except InvalidInput as error:
            problems.refused(place, error)
    envs: dict[str, GroupEnv] = {}
    for number, env in enumerate(table.env):
        if env.name in envs:
            problems.add_about(node.at("env", number, "name"), f"env {env.name!r} is defined twice")
        inner = node.parts["env"].elements[number]
        envs[env.name] = GroupEnv(env.name, parts.variables(env.envs, inner, reading.environ, problems))
    return Group(table.name, table.local_only, tuple(volumes.values()), tuple(envs.values()))


def _by_name(groups: Sequence[tuple[Group, Node]]) -> list[tuple[str, Group]]:
    return [(group.name, group) for group, _ in groups]


def _services(
    node: Node | None, project: str, groups: Mapping[str, Group], reading: Reading, problems: Problems
) -> list[Entry]:
    if node is None:
        return []
    if node.items is None:
        problems.add(node.place, "expected a list of tables: write [[service]]")
        return []
    if len(node.items) > MAX_SERVICES:
        problems.add_about(node.place, f"{len(node.items)} services are more than {MAX_SERVICES}")
    extender = Extender(problems, lambda file, origin: _other(file, origin, reading, problems))
    around = Surroundings(project, groups, reading.environ, reading.read_text, problems)
    entries: list[Entry] = []
    for one in node.items[:MAX_SERVICES]:
        if one.table is None:
            read_table(one, ServiceTable, problems)
            continue
        filled = extender.filled(one, node.items)
        service = resolve(read_table(filled, ServiceTable, problems), filled, around)
        if service.secrets and not reading.secrets:
            text = "secrets are read on this host, as its user: a request may not ask for any"
            problems.add_about(filled.at("secrets"), text)
        active = not service.profiles or bool(reading.profiles.intersection(service.profiles))
        entries.append(Entry(service, filled, active))
    return entries


def _other(file: str, origin: Origin, reading: Reading, problems: Problems) -> Node:
    """The services of a file that one extends."""
    folder = (origin.folder / file).parent
    shown = str(Path(origin.shown).parent / file)
    root = _document(Path(file).name, Origin(shown, folder), reading)
    table = canonical(root.parts, Document, problems)
    services = table.get("service", Node([], Place(Origin(shown, folder))))
    return interpolate(services, reading.environ, problems)
