"""``monocore add service`` and ``monocore remove service``: edits of ``monocore.toml`` that leave the rest of it as it is written."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from monocore_core.cli.arguments import (
    Parser,
    UsageError,
    Value,
    add_globals,
    split_at_operand,
)
from monocore_core.cli.failures import warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.services import add_project, reading_of, services_file, shown
from monocore_core.cli.values import parse_setting
from monocore_core.config.find import FILE_NAME
from monocore_core.errors import Conflict, InvalidInput, NotFound
from monocore_core.notation.form import Json

_ADD = "monocore add service"
_REMOVE = "monocore remove service"


def main(words: list[str], options: Globals) -> int:
    """Run ``add service …``."""
    if words[:1] == ["service"]:
        return _add(words[1:], options)
    parser = Parser("monocore add", "Add a service to monocore.toml: monocore add service NAME IMAGE.")
    add_globals(parser)
    if words and words[0].startswith("-"):
        parser.flags(words, options)
    raise UsageError("what to add is not said", f"{_ADD} NAME IMAGE.", "monocore add")


def remove(words: list[str], options: Globals) -> int:
    """Run ``remove service …``."""
    if words[:1] == ["service"]:
        return remove_from_file(words[1:], options)
    parser = Parser("monocore remove", "Take a service out of monocore.toml: monocore remove service NAME.")
    add_globals(parser)
    if words and words[0].startswith("-"):
        parser.flags(words, options)
    raise UsageError("what to remove is not said", f"{_REMOVE} NAME.", "monocore remove")


def _add(words: list[str], options: Globals) -> int:
    parser, actions = _add_parser()
    flags, operands = split_at_operand(words, actions)
    parsed = parser.flags(flags, options)
    if len(operands) < 2:
        raise UsageError("a name and an image are needed", f"{_ADD} [OPTIONS] NAME IMAGE [COMMAND…].", _ADD)
    path = _file_to_edit(parsed, options)

    from monocore_core.config.edit import add_service

    text = _read(path)
    after = add_service(text, _keys(parsed, operands), shown(path))
    _replace(path, text, after, parsed)
    print(f"{shown(path)}: added service {operands[0]!r}")
    return 0


def remove_from_file(words: list[str], options: Globals) -> int:
    """``remove service NAME``: out of the file; what runs is not touched."""
    parser = Parser(
        _REMOVE, "Take services out of monocore.toml. What runs is not touched: 'monocore up' does that."
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the service")
    add_project(parser, group=False)
    add_globals(parser)
    parsed = parser.flags(words, options)
    path = services_file(parsed, options)

    from monocore_core.config.edit import remove_service

    text = after = _read(path)
    for name in parsed.names:
        after = remove_service(after, name, shown(path))
    _replace(path, text, after, parsed)
    for name in parsed.names:
        print(f"{shown(path)}: removed service {name!r}")
    return 0


def _add_parser() -> tuple[Parser, list[argparse.Action]]:
    parser = Parser(
        _ADD,
        "Add a service to monocore.toml, behind the others. The file is checked before it is replaced; nothing is started.",
        usage=f"{_ADD} [OPTIONS] NAME IMAGE [COMMAND...]",
    )
    add = parser.add_argument
    return parser, [
        add("-g", "--group", metavar="GROUP", help="its group"),
        add(
            "-p",
            "--port",
            action="append",
            default=[],
            metavar="[[ADDRESS:]PORT:]PORT[/udp]",
            help="publish a port",
        ),
        add(
            "-v", "--volume", action="append", default=[], metavar="[SOURCE:]PATH[:ro]", help="mount a volume"
        ),
        add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable"),
        add("--depends-on", action="append", default=[], metavar="SERVICE", help="start it after this one"),
        add("--cpus", metavar="N", help="virtual CPUs"),
        add("-m", "--memory", metavar="SIZE", help="RAM"),
        add("--restart", metavar="POLICY", help="no, on-failure[:N], always or unless-stopped"),
        add(
            "--set",
            action=Value,
            parse=parse_setting,
            repeat=True,
            dest="keys",
            metavar="KEY=VALUE",
            help="any key of a service, as TOML or text: healthcheck.tcp=5432",
        ),
        *add_project(parser, group=False),
        *add_globals(parser),
    ]


def _keys(parsed: argparse.Namespace, operands: Sequence[str]) -> Mapping[str, Json]:
    """The keys of the table, as a person would write them."""
    name, image, *command = operands
    keys: dict[str, Json] = {
        "name": name,
        "base": image,
        "group": parsed.group,
        "command": command,
        "cpus": int(parsed.cpus) if parsed.cpus and parsed.cpus.isdecimal() else parsed.cpus,
        "ram": parsed.memory,
        "port": parsed.port,
        "volumes": parsed.volume,
        "envs": parsed.env,
        "depends_on": parsed.depends_on,
        "restart": parsed.restart,
    }
    written: dict[str, Json] = {key: value for key, value in keys.items() if value}
    for path, text in parsed.keys:
        _set(written, path, text)
    return written


def _set(table: dict[str, Json], path: str, text: str) -> None:
    """Put a value at a dotted path."""
    from monocore_core.config.load import toml_value

    *parents, last = path.split(".")
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InvalidInput(f"--set {path[:80]!r}: {parent!r} is not a table")
        table = inner
    table[last] = cast("Json", toml_value(text))


def _file_to_edit(parsed: argparse.Namespace, options: Globals) -> Path:
    """The file of the services, which need not exist where it is named or would be ``./monocore.toml``."""
    if parsed.file is not None and not Path(parsed.file).exists():
        return Path(parsed.file)
    try:
        path = services_file(parsed, options)
    except NotFound:
        if parsed.file is not None or options.config is not None or os.environ.get("MONOCORE_CONFIG"):
            raise
        return Path(FILE_NAME)
    named = parsed.file is not None or options.config is not None or bool(os.environ.get("MONOCORE_CONFIG"))
    return path if named or path.parent == Path.cwd() else Path(FILE_NAME)


def _replace(path: Path, before: str, after: str, parsed: argparse.Namespace) -> None:
    """Check what would be in the file, then let it be there: all of it or, after a crash too, what was.

    Raises:
        ConfigError: it would be wrong; nothing was changed.
        Conflict: another program changed the file meanwhile.
    """
    from attrs import evolve

    from monocore_core.config.project import load_project
    from monocore_core.config.source import read_text
    from monocore_core.config.tree import Origin

    real = Path(os.path.realpath(path))

    def text_of(name: str, origin: Origin) -> str:
        return after if origin.folder / name == path.absolute() else read_text(name, origin)

    reading = evolve(reading_of(parsed, os.environ), read_text=text_of)
    for text in load_project(path, reading, shown=shown(path)).warnings:
        warn(f"warning: {text}")
    if _read(real) != before:
        raise Conflict(f"{shown(path)} was changed by another program meanwhile", hint="try again")
    _write(real, after)


def _read(path: Path) -> str:
    """The text with its own line endings; none where there is no file."""
    from monocore_core.config.source import read_text
    from monocore_core.config.tree import Origin

    return read_text(path.name, Origin(shown(path), path.absolute().parent)) if path.exists() else ""


def _write(path: Path, text: str) -> None:
    from monocore_core.store.atomic import publish, storage_errors

    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with storage_errors(f"write {path}"):
        old = path.stat() if path.exists() else None
        try:
            with temporary.open("x", encoding="utf-8", newline="") as stream:
                if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    with contextlib.suppress(PermissionError):  # then it is ours, as after any other editor
                        os.fchown(stream.fileno(), old.st_uid, old.st_gid)
                os.fchmod(stream.fileno(), 0o644 if old is None else stat.S_IMODE(old.st_mode))
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
