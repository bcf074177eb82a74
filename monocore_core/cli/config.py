"""``monocore config``: check what is configured, show it resolved, and its JSON Schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, UsageError, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.render import print_json
from monocore_core.cli.services import add_project, members, project_of, services_file, shown
from monocore_core.cli.settings import settings_for
from monocore_core.config.find import find_file
from monocore_core.config.values import Settings
from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.service import Project


def main(words: list[str], options: Globals) -> int:
    """Run ``config check|show|schema``."""
    actions = {
        "check": _check,
        "show": _show,
        "schema": _schema,
    }
    if not words or words[0].startswith("-"):
        _parser("monocore config", f"Commands: {', '.join(actions)}.").flags(words, options)
        raise UsageError("no command is given", f"one of {', '.join(actions)}.", "monocore config")
    return act("config", actions, words, options)


def _parser(prog: str, description: str) -> Parser:
    parser = Parser(prog, description)
    add_globals(parser)
    return parser


def _check(words: list[str], options: Globals) -> int:
    parser = _parser(
        "monocore config check",
        "Check everything that is configured: settings, options of backends, services.",
    )
    add_project(parser, group=False)
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing when all is well")
    parsed = parser.flags(words, options)
    path = services_file(parsed, options)
    project = project_of(parsed, options)
    _check_plugins(settings_for(options, anywhere=True), project)
    if not parsed.quiet:
        print(f"{shown(path)}: {_counted(project)}: nothing is wrong")
    return 0


def _counted(project: Project) -> str:
    services, groups, others = len(project.services), len(project.groups), len(project.inactive)
    more = f", {others} inactive" if others else ""
    return (
        f"{services} service{'' if services == 1 else 's'}{more}, {groups} group{'' if groups == 1 else 's'}"
    )


def _check_plugins(settings: Settings, project: Project) -> None:
    """What only installed plugins know: options of backends, schemes of images."""
    from monocore_core.backends import wrong_options
    from monocore_core.plugins import discover
    from monocore_core.sources import Schemes

    plugins = discover()
    schemes = Schemes.installed(plugins)
    problems = [*wrong_options(plugins, settings)]
    for service in project.services:
        about = f"{shown(project.source or Path())}: service {service.name!r}: base"
        scheme, _, path = service.image.partition(":")
        try:
            schemes.parse(service.image)
        except InvalidInput as error:
            problems.append(f"{about}: {error.brief}")
            continue
        if schemes.is_local(service.image) and not path.startswith("/"):  # of what, the daemon would ask
            problems.append(f"{about}: {path!r} is relative: write {scheme}:./{path}, or an absolute path")
    if problems:
        brief = problems[0] if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(brief, problems=tuple(problems) if len(problems) > 1 else ())


def _show(words: list[str], options: Globals) -> int:
    parser = _parser(
        "monocore config show",
        "Show the configuration with everything filled in: variables, defaults, what services take from one another and from their "
        "groups. Values of variables that are secrets by their names are masked; those of 'secrets' are never read.",
    )
    add_project(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parsed = parser.flags(words, options)

    from attrs import evolve

    from monocore_core.config.write import document_of, masked, settings_document

    document: dict[str, object] = {}
    if parsed.file is not None or _file(options) is not None:
        project = project_of(parsed, options)
        document = dict(document_of(evolve(project, services=members(project, parsed.group))))
    shown_ = masked(
        {**settings_document(settings_for(options, anywhere=True)), **cast("dict[str, str]", document)}
    )
    if parsed.json:
        print_json(shown_)
        return 0

    import tomlkit

    print(tomlkit.dumps(shown_), end="")
    return 0


def _file(options: Globals) -> Path | None:
    found = find_file(options.config, os.environ, str(Path.cwd()))
    return Path(found) if found is not None else None


def _schema(words: list[str], options: Globals) -> int:
    parser = _parser(
        "monocore config schema",
        "Print the JSON Schema (2020-12) of monocore.toml, for editors: #:schema ./monocore.schema.json in its first line.",
    )
    parser.flags(words, options)

    from monocore_core.config.tables import document_schema

    print_json(document_schema())
    return 0
