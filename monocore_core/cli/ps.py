"""``monocore ps``: the sandboxes that the daemon keeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace

from monocore_core.cli.columns import print_columns, print_document
from monocore_core.cli.globals import Globals
from monocore_core.cli.humane import ago, status
from monocore_core.cli.reach import reach
from monocore_core.client.api import target
from monocore_core.client.tables import Table, inner, number, table, tables, text, texts, whole
from monocore_core.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from monocore_core.cli.arguments import Parser

HEAD = ("SANDBOX ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
#: Characters of a command and of an image, unless ``--no-trunc``.
MAX_COMMAND, MAX_IMAGE = 20, 50
FILTERS = ("ancestor", "exited", "id", "label", "name", "state", "status")

Filter = tuple[str, str]


def main(words: list[str], options: Globals) -> int:
    """Run ``ps``."""
    parsed = build_parser().flags(words, options) if words else plain()
    filters = [_parse_filter(word) for word in parsed.filter]
    everything = (
        parsed.all or parsed.last > 0 or any(name in ("state", "status", "exited") for name, _ in filters)
    )
    found = tables(reach(options).call("GET", target("sandboxes", all=everything)), "sandboxes")
    chosen = sorted((one for one in found if matches(one, filters)), key=_created, reverse=True)
    if parsed.last > 0:
        chosen = chosen[: parsed.last]
    if parsed.json:
        print_document(chosen)
    elif parsed.quiet:
        for one in chosen:
            print(text(one, "id"))
    else:
        print_columns(HEAD, [row(one, time.time(), whole_texts=parsed.no_trunc) for one in chosen])
    return 0


def matches(sandbox: Table, filters: Sequence[Filter]) -> bool:
    """Whether every kind of filter has one that fits, as Docker combines them; every label must fit. Pure."""
    kinds = {name for name, _ in filters}
    return all(
        (all if kind == "label" else any)(
            _fits(sandbox, kind, value) for name, value in filters if name == kind
        )
        for kind in kinds
    )


def row(sandbox: Table, now: float, *, whole_texts: bool = False) -> tuple[str, ...]:
    """The cells of one sandbox. Pure.

    Args:
        sandbox: as the daemon shows it.
        now: seconds since the epoch.
        whole_texts: cut nothing.
    """
    image, command = text(sandbox, "image"), " ".join(texts(sandbox, "command"))
    if not whole_texts:
        image, command = _cut(image, MAX_IMAGE), _cut(command, MAX_COMMAND)
    said = status(
        text(sandbox, "state"),
        started=number(sandbox, "started"),
        ended=number(sandbox, "ended"),
        code=whole(inner(sandbox, "end"), "code"),
        now=now,
    )
    return (
        text(sandbox, "id"),
        image,
        f'"{command}"',
        ago(_created(sandbox), now),
        said,
        ", ".join(texts(sandbox, "ports")),
        text(sandbox, "name"),
    )


def plain() -> argparse.Namespace | SimpleNamespace:
    """What the parser gives for no words, without one: it takes a tenth of the time of this command, which is asked for often."""
    return SimpleNamespace(all=False, quiet=False, last=0, filter=[], no_trunc=False, json=False)


def build_parser() -> Parser:
    """The parser of the flags."""
    from monocore_core.cli.arguments import Parser, add_globals

    parser = Parser("monocore ps", "List sandboxes.")
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="also those that do not run")
    add("-q", "--quiet", action="store_true", help="ids only")
    add(
        "-n",
        "--last",
        type=_count,
        default=0,
        metavar="N",
        help="the N that were made last, whatever their state",
    )
    add(
        "--filter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{', '.join(FILTERS)}; several of one kind: any of them, but every label",
    )
    add("--no-trunc", action="store_true", help="cut no image and no command")
    add("--json", action="store_true", help="everything that is known, as JSON")
    add_globals(parser)
    return parser


def _count(word: str) -> int:
    if not word.isdecimal():
        import argparse

        raise argparse.ArgumentTypeError(f"{word[:40]!r} is not a number")
    return int(word)


def _parse_filter(word: str) -> Filter:
    name, equals, value = word.partition("=")
    if name not in FILTERS or not equals:
        from monocore_core.cli.arguments import nearest

        near = nearest(name, FILTERS)
        raise InvalidInput(
            f"--filter {word[:80]!r} is not a filter",
            hint=f"did you mean {near}=…?"
            if near and near != name
            else f"one of {', '.join(FILTERS)}, then =VALUE",
        )
    return name, value


def _fits(sandbox: Table, kind: str, value: str) -> bool:
    if kind == "label":
        name, equals, wanted = value.partition("=")
        labels = inner(sandbox, "labels")
        return name in labels and (not equals or labels[name] == wanted)
    if kind == "exited":
        return text(sandbox, "state") == "exited" and str(whole(inner(sandbox, "end"), "code")) == value
    if kind == "ancestor":
        image = text(sandbox, "image")
        return value in (image, image.rpartition(":")[0]) or (
            value != "" and text(sandbox, "digest").startswith(value)
        )
    if kind == "id":
        return text(sandbox, "id").startswith(value)
    if kind == "name":
        return value in text(sandbox, "name")
    return text(sandbox, "state") == value


def _created(sandbox: Table) -> float:
    return number(table(sandbox), "created")


def _cut(word: str, most: int) -> str:
    return word if len(word) <= most else f"{word[: most - 1]}…"
