"""``monocore volume``: make, list, inspect and remove named volumes."""

from __future__ import annotations

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_document
from monocore_core.cli.failures import clean, for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.render import human_age, print_table
from monocore_core.cli.stores import Volumes, with_volumes
from monocore_core.client.tables import Table, number, text, texts
from monocore_core.errors import Conflict


def main(words: list[str], options: Globals) -> int:
    """Run ``volume [ls|create|inspect|rm|prune] …``; without a word, or with flags only, ``ls``."""
    actions = {
        "ls": _list,
        "list": _list,
        "create": _create,
        "inspect": _inspect,
        "rm": _remove,
        "remove": _remove,
        "prune": _prune,
    }
    return act("volume", actions, words, options)


def _list(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore volume",
        "List the named volumes. Also: volume create NAME…, volume inspect NAME…, volume rm NAME…, volume prune.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="names only")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(volumes: Volumes) -> int:
        found = volumes.all()
        if parsed.json:
            print_document(found)
        elif parsed.quiet:
            for one in found:
                print(clean(text(one, "name")))
        else:
            rows = [
                (text(one, "name"), human_age(number(one, "created")), ", ".join(texts(one, "users")) or "-")
                for one in found
            ]
            print_table(("VOLUME", "CREATED", "USED BY"), rows)
        return 0

    return with_volumes(options, work)


def _create(words: list[str], options: Globals) -> int:
    parser = Parser("monocore volume create", "Make named volumes; one that exists is left as it is.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the volume")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(volumes: Volumes) -> int:
        return for_each(
            parsed.names,
            lambda name: print(clean(text(volumes.create(name), "name"))),
            debug=options.debug,
        )

    return with_volumes(options, work)


def _inspect(words: list[str], options: Globals) -> int:
    parser = Parser("monocore volume inspect", "Show everything known of volumes, as a JSON list.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the volume")
    parser.add_argument("--json", action="store_true", help="as JSON (always so)")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(volumes: Volumes) -> int:
        found: list[Table] = []
        status = for_each(parsed.names, lambda name: found.append(volumes.details(name)), debug=options.debug)
        print_document(found)
        return status

    return with_volumes(options, work)


def _remove(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore volume rm", "Remove volumes with everything in them, unless a sandbox uses them."
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="of the volume")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(volumes: Volumes) -> int:
        def remove(name: str) -> None:
            volumes.remove(name)
            print(clean(name))

        return for_each(parsed.names, remove, debug=options.debug)

    return with_volumes(options, work)


def _prune(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore volume prune", "Remove every volume that no sandbox uses, with everything in it."
    )
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    add_globals(parser)
    parsed = parser.flags(words, options)
    if not parsed.force and not _confirmed():
        return 0

    def work(volumes: Volumes) -> int:
        for name in volumes.prune():
            print(clean(f"Deleted: {name}"))
        return 0

    return with_volumes(options, work)


def _confirmed() -> bool:
    try:
        answer = input("This removes every volume that no sandbox uses. Continue? [y/N] ")
    except EOFError as error:
        print()
        raise Conflict("not confirmed", hint="give -f to remove without a question") from error
    return answer.strip().lower() in ("y", "yes")
