"""Flags by which a command is told of a project, and what they mean: the file, the group, the profiles."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from monocore_core.cli.arguments import Parser
from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.config.check import Host
from monocore_core.config.find import FILE_NAME, find_file
from monocore_core.config.project import Reading, load_project
from monocore_core.errors import NotFound
from monocore_core.hostcalls.processors import usable
from monocore_core.model.service import Project, Service

_PROFILES = "MONOCORE_PROFILES"


def add_project(parser: Parser, *, group: bool = True) -> list[argparse.Action]:
    """Declare ``-f``, ``--profile`` and, where a group can be chosen, ``-g``; the functions below read them."""
    flags = parser.add_argument_group("the services")
    actions = [
        flags.add_argument(
            "-f",
            "--file",
            metavar="FILE",
            help=f"that has the services (default: --config, or ./{FILE_NAME})",
        ),
        flags.add_argument(
            "--profile",
            action="append",
            default=[],
            metavar="NAME",
            help=f"services of this profile, too (also: ${_PROFILES}, with commas)",
        ),
    ]
    if group:
        actions.append(
            flags.add_argument("-g", "--group", metavar="GROUP", help="services of this group only")
        )
    return actions


def services_file(parsed: argparse.Namespace, options: Globals) -> Path:
    """The file that has the services. One that ``-f`` names has the settings, too, unless ``--config`` names another.

    Raises:
        NotFound: there is none.
    """
    if parsed.file is not None:
        path = Path(parsed.file)
        if not path.is_file():
            raise NotFound(f"file {path} does not exist")
        options.config = options.config if options.config is not None else parsed.file
        return path
    found = find_file(options.config, os.environ, str(Path.cwd()))
    if found is None:
        raise NotFound(f"there is no {FILE_NAME} here", hint="name a file: -f FILE")
    return Path(found)


def reading_of(parsed: argparse.Namespace, environ: Mapping[str, str]) -> Reading:
    """How the flags, and the environment, have a file read."""
    more = (name.strip() for name in environ.get(_PROFILES, "").split(","))
    return Reading(environ, frozenset((*parsed.profile, *filter(None, more))), this_host())


def project_of(parsed: argparse.Namespace, options: Globals) -> Project:
    """The project that the flags mean; what is likely wrong with it is said on standard error.

    Raises:
        ConfigError: with everything that is wrong.
        NotFound: there is no file, or no group of that name.
    """
    path = services_file(parsed, options)
    project = load_project(path, reading_of(parsed, os.environ), shown=shown(path))
    for text in project.warnings:
        warn(f"warning: {text}")
    if getattr(parsed, "group", None) is not None:
        members(project, parsed.group)
    return project


def members(project: Project, group: str | None) -> tuple[Service, ...]:
    """The active services of a group, or all.

    Raises:
        NotFound: there is no such group.
    """
    if group is None:
        return project.services
    names = [one.name for one in project.groups]
    if group not in names:
        raise NotFound(f"there is no group {group[:80]!r} (groups: {', '.join(names) or 'none'})")
    return project.members(group)


def shown(path: Path) -> str:
    """A path as messages have it: relative where it is below the current folder."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if Path.cwd() in absolute.parents else str(path)


def this_host() -> Host:
    """What this machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Host(usable(), memory)
