"""``up``, ``down``, ``restart``, ``remove`` and ``status``: the services of a file, by the daemon, which reads it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.columns import print_columns, print_document, print_line
from monocore_core.cli.failures import clean, warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.grace import parse_grace
from monocore_core.cli.naming import project_name
from monocore_core.cli.reach import reach, remote_of
from monocore_core.client.api import Api, problem, target
from monocore_core.client.destination import VARIABLES
from monocore_core.client.tables import Table, flag, inner, tables, text, texts, whole
from monocore_core.config.find import FILE_NAME, find_file
from monocore_core.errors import NotFound, Unreachable

HEAD = ("SERVICE", "GROUP", "STATE", "HEALTH", "SANDBOXES", "PORTS, DETAIL")
_PROFILES = "MONOCORE_PROFILES"


def up(words: list[str], options: Globals) -> int:
    """Run ``up``."""
    parser = _parser("up", "Start the services of monocore.toml, and replace those that have changed.")
    add = parser.add_argument
    add(
        "-d",
        "--detach",
        action="store_true",
        help="accepted for habit: services always run in the background",
    )
    add(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help=f"services of this profile, too (also: ${_PROFILES})",
    )
    add("--force-recreate", action="store_true", help="replace those that have not changed, too")
    add("--remove-orphans", action="store_true", help="remove what the file no longer has")
    add("--wait", action="store_true", help="until all of them are healthy")
    parsed = parser.flags(words, options)
    file = _file(parsed.file, options)
    profiles = [*parsed.profile, *(one for one in os.environ.get(_PROFILES, "").split(",") if one.strip())]
    remote = remote_of(options)
    if remote is None:
        environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        what: Mapping[str, object] = {"file": str(file), "environ": environ, "profiles": profiles}
    else:
        from monocore_core.cli.posting import posted

        what = posted(file, profiles, os.environ, remote)
    body = {
        **what,
        "services": parsed.services,
        "group": parsed.group,
        "recreate": parsed.force_recreate,
        "remove_orphans": parsed.remove_orphans,
        "wait": parsed.wait,
    }
    return _follow(reach(options), target("projects", "up"), body, as_json=parsed.json)


def down(words: list[str], options: Globals) -> int:
    """Run ``down``."""
    return _stop("down", "Stop services, those that others need last.", words, options)


def restart(words: list[str], options: Globals) -> int:
    """Run ``restart``."""
    return _stop("restart", "Stop services, and start them again.", words, options)


def remove(words: list[str], options: Globals) -> int:
    """Run ``remove``, without the word ``service``."""
    parser = _parser(
        "remove",
        "Remove stopped services' sandboxes, with their logs and writable disks. The file is left as it is: "
        "'monocore remove service NAME' takes a service out of it.",
    )
    parser.add_argument("--force", action="store_true", help="stop those that run before")
    parsed = parser.flags(words, options)
    return _act("remove", parsed, options, {"force": parsed.force})


def status(words: list[str], options: Globals) -> int:
    """Run ``status``."""
    parser = _parser(
        "status", "Show the services of a project, or, where there is no monocore.toml, of all projects."
    )
    parsed = parser.flags(words, options)
    api = reach(options)
    try:
        name = project_name(str(_file(parsed.file, options)))
    except NotFound:
        if parsed.file is not None:
            raise
        name = ""
    found = api.call("GET", target("projects", name) if name else target("projects"))
    if parsed.json:
        print_document(found)
        return 0
    for project in [found] if name else tables(found, "projects"):
        _print_status(project, parsed.services, parsed.group)
    return 0


def _parser(name: str, description: str) -> Parser:
    parser = Parser(f"monocore {name}", description)
    parser.add_argument(
        "services", nargs="*", metavar="SERVICE", help="these only, and for 'up' what they need"
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", help=f"that has the services (default: ./{FILE_NAME})"
    )
    parser.add_argument("-g", "--group", metavar="GROUP", help="services of this group only")
    parser.add_argument("--json", action="store_true", help="as JSON, what happens line by line")
    add_globals(parser)
    return parser


def _stop(name: str, description: str, words: list[str], options: Globals) -> int:
    """What stops services, gently for so long."""
    parser = _parser(name, description)
    parser.add_argument(
        "-t",
        "--timeout",
        "--grace",
        dest="grace",
        action=Value,
        parse=parse_grace,
        metavar="SECONDS",
        help="until force (default: each service's stop_grace; 0: at once)",
    )
    parsed = parser.flags(words, options)
    return _act(name, parsed, options, {} if parsed.grace is None else {"grace": parsed.grace})


def _act(
    name: str, parsed: argparse.Namespace, options: Globals, more: Mapping[str, object] | None = None
) -> int:
    project = project_name(str(_file(parsed.file, options)))
    body = {"services": parsed.services, "group": parsed.group, **(more or {})}
    return _follow(reach(options), target("projects", project, name), body, as_json=parsed.json)


def _file(named: str | None, options: Globals) -> Path:
    """The file that has the services, absolute.

    Raises:
        NotFound: there is none.
    """
    word = named if named is not None else options.config
    found = find_file(word, os.environ, str(Path.cwd()))
    if found is None:
        raise NotFound(f"there is no {FILE_NAME} here", hint="name a file: -f FILE")
    return Path.cwd() / found


def _follow(api: Api, where: str, body: Mapping[str, object], *, as_json: bool) -> int:
    """Show what happens, to its end.

    Raises:
        MonocoreError: that the daemon tells; Unreachable: it was gone before the end.
    """
    for line in api.tables("POST", where, body):
        if "error" in line:
            raise problem(inner(line, "error"))
        if as_json:
            print_line(line)
        elif (words := said(line)) and "done" not in line:
            warn(words)
        if "done" in line:
            if not as_json:
                _print_status(inner(line, "done"), [], None)
            return 0
    raise Unreachable(
        "the daemon was gone before it was done", hint="'monocore status' shows how far it came"
    )


def said(line: Table) -> str:
    """One thing that happened to a service, for a person; "" for what is not worth a line. Pure."""
    warnings = texts(line, "warnings")
    if warnings or "event" not in line:
        return clean("\n".join(warnings))
    event = inner(line, "event")
    if text(event, "type") != "ServiceEvent":
        return clean(text(event, "text")) if text(event, "type") == "Warned" else ""
    kind = text(event, "kind").removeprefix("service-").removeprefix("project-")
    who = text(event, "instance") or text(event, "service") or f"project {text(event, 'project')}"
    more = text(event, "text")
    return clean(f"{who}: {kind}{f': {more}' if more else ''}")


def _print_status(project: Table, services: list[str], group: str | None) -> None:
    rows = [
        row(one)
        for one in tables(project, "services")
        if (not services or text(one, "name") in services) and (group is None or text(one, "group") == group)
    ]
    if rows or "removed" not in project:
        print_columns(HEAD, rows)


def row(service: Table) -> tuple[str, ...]:
    """The cells of one service. Pure."""
    instances = tables(service, "instances")
    health = {text(one, "health") for one in instances} - {"", "none"}
    details = {text(one, "health_detail") or _exit(one) for one in instances} - {""}
    return (
        text(service, "name"),
        text(service, "group"),
        text(service, "state"),
        ", ".join(sorted(health)),
        ", ".join(text(one, "name") for one in instances),
        "; ".join(sorted({port for one in instances for port in texts(one, "ports")} | details)),
    )


def _exit(instance: Table) -> str:
    """How it ended, unless that was somebody's wish."""
    if instance.get("exit_code") is None or flag(instance, "requested"):
        return ""
    detail, code = text(instance, "exit_detail"), whole(instance, "exit_code")
    return f"{detail or text(instance, 'exit_reason')} ({code})"
