"""Discovery: which backends are installed, and what is wrong with the plugins that are not usable.

A plugin that fails to import, implements a hook that does not exist, was written for another contract version, offers something malformed, or
takes a name that another has, is set aside with a sentence; the rest works. This is the only module that calls hooks.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy
from attrs import frozen

from monocore_core import __version__, hookspecs, nonetwork
from monocore_core.errors import NotFound, PluginError
from monocore_core.interfaces.provider import (
    API_VERSION,
    ImageSourceProvider,
    Interface,
    LayerMergerProvider,
    NetworkProvider,
    Provider,
    VmmProvider,
)

CORE = "monocore-core"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_RESERVED = frozenset({"auto"})

_HOOKS: Mapping[Interface, tuple[str, type[Provider[Any, Any]]]] = {
    Interface.IMAGE_SOURCE: ("monocore_image_sources", ImageSourceProvider),
    Interface.LAYER_MERGER: ("monocore_layer_mergers", LayerMergerProvider),
    Interface.NETWORK: ("monocore_networks", NetworkProvider),
    Interface.VMM: ("monocore_vmms", VmmProvider),
}


@frozen
class Backend:
    """One usable backend and where it comes from."""

    interface: Interface
    name: str
    provider: Provider[Any, Any]
    distribution: str
    version: str


@frozen
class PluginProblem:
    """Something of a plugin that is set aside, and why."""

    plugin: str
    distribution: str
    reason: str
    hint: str = ""


@frozen
class Plugins:
    """What is installed: usable backends, in order of rank, and problems."""

    backends: tuple[Backend, ...]
    problems: tuple[PluginProblem, ...] = ()

    def of(self, interface: Interface) -> tuple[Backend, ...]:
        """The backends of an interface, highest rank first."""
        return tuple(backend for backend in self.backends if backend.interface is interface)

    def get(self, interface: Interface, name: str) -> Backend:
        """The backend of that name.

        Raises:
            NotFound: with what is installed, and what was set aside under that name.
        """
        for backend in self.of(interface):
            if backend.name == name:
                return backend
        for problem in self.problems:
            if problem.plugin == name:
                raise PluginError(
                    f"{interface.label} {name!r} cannot be used: {problem.reason}", hint=problem.hint
                )
        installed = [backend.name for backend in self.of(interface)]
        near = difflib.get_close_matches(name, installed, 1)
        package = f"pip install monocore-{name.replace('_', '-')}"
        raise NotFound(
            f"{interface.label} {name!r} is not installed (installed: {', '.join(sorted(installed)) or 'none'})",
            hint=f"did you mean {near[0]!r}?" if near else f"perhaps: {package}",
        )


def discover(points: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every installed plugin.

    Args:
        points: entry points to load instead of the installed ones, for tests.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    found: list[Backend] = _offers(nonetwork, "none", CORE, __version__, manager)[0]
    problems: list[PluginProblem] = []
    for point in sorted(points if points is not None else _installed(), key=lambda point: point.name):
        offers, findings = _load(point, manager)
        found += offers
        problems += findings
    unique, duplicates = _refuse_duplicates(found)
    ordered = sorted(unique, key=lambda backend: (backend.interface, -backend.provider.rank, backend.name))
    return Plugins(tuple(ordered), (*problems, *duplicates))


def _installed() -> Iterable[EntryPoint]:
    """Entry points of the group, each once (an editable install can show twice)."""
    return {
        (point.name, point.value): point for point in entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    }.values()


def _load(point: EntryPoint, manager: pluggy.PluginManager) -> tuple[list[Backend], list[PluginProblem]]:
    distribution = point.dist.name if point.dist else "?"
    version = point.dist.version if point.dist else "?"
    try:
        plugin = point.load()
    except Exception as error:  # noqa: BLE001 - the plugin boundary: whatever a stranger's module raises
        return [], [
            PluginProblem(point.name, distribution, f"import failed: {_say(error)}", _reinstall(distribution))
        ]
    return _offers(plugin, point.name, distribution, version, manager)


def _offers(
    plugin: object, name: str, distribution: str, version: str, manager: pluggy.PluginManager
) -> tuple[list[Backend], list[PluginProblem]]:
    """What one plugin module offers, checked."""
    problems = [
        PluginProblem(name, distribution, reason, hint) for reason, hint in _unknown_hooks(plugin, manager)
    ]
    backends: list[Backend] = []
    for interface, (hook, kind) in _HOOKS.items():
        function = getattr(plugin, hook, None)
        if function is None or manager.parse_hookimpl_opts(plugin, hook) is None:
            continue
        try:
            offered = list(function())
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            problems.append(
                PluginProblem(name, distribution, f"{hook}() failed: {_say(error)}", _reinstall(distribution))
            )
            continue
        for one in offered:
            reason = _wrong_kind(one, kind, hook) or _flaw(one)
            if reason is None:
                backends.append(Backend(interface, one.name, one, distribution, version))
            else:
                label = getattr(one, "name", name)
                problems.append(
                    PluginProblem(
                        str(label), distribution, reason, f"pip install -U {distribution} monocore-core"
                    )
                )
    if not backends and not problems:
        problems.append(
            PluginProblem(name, distribution, "offers no backend", "mark its hooks with @hookimpl")
        )
    return backends, problems


def _unknown_hooks(plugin: object, manager: pluggy.PluginManager) -> Iterable[tuple[str, str]]:
    """Hook implementations that no specification knows: misspelt, or from a newer core."""
    known = [hook for hook, _ in _HOOKS.values()]
    for attribute, value in inspect.getmembers(plugin, callable):
        marked = getattr(value, f"{hookspecs.PROJECT}_impl", None)
        if marked is not None and attribute not in known:
            near = difflib.get_close_matches(attribute, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known hooks: {', '.join(known)}"
            yield f"implements the unknown hook {attribute}", hint
    del manager


def _wrong_kind(offered: object, kind: type[Provider[Any, Any]], hook: str) -> str | None:
    if isinstance(offered, kind):
        return None
    return f"{hook}() gave a {type(offered).__name__}, not a {kind.__name__}"


def _flaw(provider: Provider[Any, Any]) -> str | None:
    """Why this provider cannot serve, or None."""
    if provider.api != API_VERSION:
        return f"was written for contract version {provider.api}; this core has version {API_VERSION}"
    if not _NAME.match(provider.name) or provider.name in _RESERVED:
        return f"name {provider.name!r:.80} is not allowed (lower-case letters, digits and _)"
    if not attrs.has(provider.options):
        return f"options {provider.options!r:.80} is not an attrs class"
    return None


def _refuse_duplicates(found: list[Backend]) -> tuple[list[Backend], list[PluginProblem]]:
    """A name that two plugins take is used by neither: which one would be meant?"""
    counts = Counter((backend.interface, backend.name) for backend in found)
    problems: list[PluginProblem] = []
    for (interface, name), count in counts.items():
        if count > 1:
            owners = sorted(b.distribution for b in found if (b.interface, b.name) == (interface, name))
            reason = f"{count} plugins offer a {interface.label} of this name: {', '.join(owners)}"
            problems.append(PluginProblem(name, owners[0], reason, "uninstall all but one"))
    return [b for b in found if counts[b.interface, b.name] == 1], problems


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _reinstall(distribution: str) -> str:
    return f"pip install --force-reinstall {distribution}, or uninstall it"
