"""``extends``: a service takes the keys of another, of the same file or of one beside it. Pure but for the reading of files.

Its own keys go before. Tables are joined key by key, and so are the lists whose entries have a name (variables, volumes, secrets …), by that name;
every other list is replaced. ``name``, ``extends`` and ``profiles`` are never taken.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import get_type_hints

from attrs import field, frozen

from monocore_core.config.read import canonical, read_value
from monocore_core.config.service_tables import ExtendsTable, ServiceTable
from monocore_core.config.tree import Node, Origin, Problems
from monocore_core.errors import MonocoreError

#: Longest chain of services that extend one another.
MAX_CHAIN = 16
#: Gives the services of a file, by a path relative to the folder of the origin; raises an error of ours where it cannot.
OpenFile = Callable[[str, Origin], Node]

_OWN = frozenset({"name", "extends", "profiles"})
_JOINED_TABLES = frozenset({"labels", "network", "healthcheck", "restart", "disk_limits"})


@frozen
class _Chain:
    """The services on the way, by the file's shown name and their own."""

    seen: tuple[tuple[str, str], ...] = ()

    def text(self, last: tuple[str, str]) -> str:
        names = [*self.seen, last]
        files = len({file for file, _ in names}) > 1
        return " → ".join(f"{name} ({file})" if files else name for file, name in names)


@frozen
class Extender:
    """Fills in the services of one document.

    Attributes:
        problems: gets what is wrong.
        open_file: reads another file.
    """

    problems: Problems
    open_file: OpenFile
    _opened: dict[tuple[str, str], Node | None] = field(factory=dict[tuple[str, str], "Node | None"])

    def filled(self, service: Node, services: Sequence[Node]) -> Node:
        """The service with the keys that it takes from others.

        Args:
            service: a table.
            services: all of its file.
        """
        return Node(self._filled(service, services, _Chain()), service.place)

    def _filled(self, service: Node, services: Sequence[Node], chain: _Chain) -> Mapping[str, Node]:
        own = canonical(service.parts, ServiceTable, self.problems)
        wanted = own.get("extends")
        if wanted is None:
            return own
        link = read_value(wanted, _LINK, self.problems)
        file, name = (link.file, link.service) if isinstance(link, ExtendsTable) else (None, link)
        if not isinstance(name, str) or not name:
            return own
        me = (service.place.origin.shown, _name(own))
        others = services if file is None else self._services(file, wanted)
        if others is None:
            return own
        base = next((one for one in others if _name(one.parts) == name), None)
        if base is None:
            names = ", ".join(sorted(filter(None, (_name(one.parts) for one in others)))) or "none"
            where = f" in {file}" if file else ""
            self.problems.add_about(
                wanted.place, f"extends {name!r}, which is not defined{where} (services: {names})"
            )
            return own
        target = (base.place.origin.shown, name)
        way = _Chain((*chain.seen, me))
        if target in way.seen or len(way.seen) > MAX_CHAIN:
            what = "services extend one another" if target in way.seen else f"more than {MAX_CHAIN} services"
            self.problems.add_about(wanted.place, f"extends {name!r}: {what}: {way.text(target)}")
            return own
        return joined(self._filled(base, others, way), own)

    def _services(self, file: str, wanted: Node) -> Sequence[Node] | None:
        """The services of another file, read once."""
        origin = wanted.place.origin
        path = posixpath.normpath(file)
        if path.startswith(("/", "../")) or path == "..":
            self.problems.add_about(
                wanted.place, f"extends {file[:200]!r}, which is not below the folder of this file"
            )
            return None
        key = (origin.folder.as_posix(), path)
        if key not in self._opened:
            try:
                self._opened[key] = self.open_file(path, origin)
            except MonocoreError as error:
                self._opened[key] = None
                self.problems.add_about(wanted.place, f"extends {file[:200]!r}: {error.brief}")
        node = self._opened[key]
        return None if node is None else (node.items or ())


_LINK = get_type_hints(ServiceTable, include_extras=True)["extends"]


def joined(base: Mapping[str, Node], own: Mapping[str, Node]) -> dict[str, Node]:
    """Both tables of a service in one."""
    found = {key: node for key, node in base.items() if key not in _OWN}
    for key, node in own.items():
        below = found.get(key)
        if below is None:
            found[key] = node
        elif key in _JOINED_TABLES and below.table is not None and node.table is not None:
            found[key] = Node({**below.table, **node.table}, node.place)
        elif key in _KEYS:
            found[key] = _joined_lists(below, node, _KEYS[key])
        else:
            found[key] = node
    return found


def _joined_lists(base: Node, own: Node, key_of: Callable[[Node], str]) -> Node:
    """The base's entries that are not replaced by one of the same name, then one's own."""
    mine = _entries(own)
    replaced = {key_of(entry) for entry in mine}
    return Node([*(entry for entry in _entries(base) if key_of(entry) not in replaced), *mine], own.place)


def _entries(node: Node) -> list[Node]:
    """The entries of a list; a table of variables is a list of them, one alone a list of one."""
    if node.table is not None:
        return [Node(f"{key}={_variable(part)}", part.place) for key, part in node.table.items()]
    return [node] if node.items is None else node.items


def _variable(node: Node) -> str:
    return str(node.value).lower() if isinstance(node.value, bool) else str(node.value)


def _before(mark: str) -> Callable[[Node], str]:
    return lambda node: str(node.value).partition(mark)[0]


def _target(node: Node) -> str:
    if "target" in node.parts:
        return str(node.parts["target"].value)
    parts = str(node.value).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _part(*names: str) -> Callable[[Node], str]:
    """The entry's own part of the first of these names that it has."""

    def key_of(node: Node) -> str:
        table = node.parts
        return next((str(table[name].value) for name in names if name in table), "")

    return key_of


def _mounted(node: Node) -> str:
    table = node.parts
    mount = table.get("mount") or table.get("path")
    return _target(mount) if mount is not None else ""


#: Lists whose entries are joined, and what an entry is known by.
_KEYS: Mapping[str, Callable[[Node], str]] = {
    "envs": _before("="),
    "env_files": lambda node: str(node.value),
    "group_envs": lambda node: str(node.value),
    "group_volumes": _mounted,
    "rlimits": _before("="),
    "secrets": _part("name"),
    "tmpfs": _before(":"),
    "volumes": _target,
}


def _name(table: Mapping[str, Node]) -> str:
    node = table.get("name")
    return node.value if node is not None and isinstance(node.value, str) else ""
