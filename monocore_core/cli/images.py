"""``monocore images``: list, inspect, remove, prune; :mod:`.load` and :mod:`.save`."""

from __future__ import annotations

from collections.abc import Sequence

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.columns import print_document
from monocore_core.cli.failures import clean, for_each
from monocore_core.cli.globals import Globals
from monocore_core.cli.parts import parse_platform
from monocore_core.cli.render import human_age, human_size, print_table
from monocore_core.cli.stores import Images, with_images
from monocore_core.client.tables import Table, number, text, texts
from monocore_core.client.tables import whole as whole_number
from monocore_core.errors import Conflict
from monocore_core.model.digest import Digest

NOTHING = "<none>"


def main(words: list[str], options: Globals) -> int:
    """Run ``images [ls|inspect|rm|prune|load|save] …``; without a word, or with flags only, ``ls``."""
    actions = {
        "ls": _list,
        "list": _list,
        "inspect": _inspect,
        "rm": _remove,
        "remove": _remove,
        "prune": _prune,
        "load": _load,
        "save": _save,
    }
    return act("images", actions, words, options)


def _load(words: list[str], options: Globals) -> int:
    from monocore_core.cli import load

    return load.main(words, options)


def _save(words: list[str], options: Globals) -> int:
    from monocore_core.cli import save

    return save.main(words, options)


def _list(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore images",
        "List the images in the store. Also: images inspect, images rm, images prune, images load, images save.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--digests", action="store_true", help="show digests")
    parser.add_argument("--no-trunc", action="store_true", help="show whole ids")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(images: Images) -> int:
        found = images.all()
        if parsed.json:
            print_document(found)
        elif parsed.quiet:
            for identity in dict.fromkeys(_id(image, whole=parsed.no_trunc) for image in found):
                print(clean(identity))
        else:
            _print_images(found, digests=parsed.digests, whole=parsed.no_trunc)
        return 0

    return with_images(options, work)


def _print_images(images: Sequence[Table], *, digests: bool, whole: bool) -> None:
    head = ["IMAGE", "ID", "PLATFORM", "PULLED", "SIZE"]
    rows: list[list[str]] = []
    for image in images:
        for reference in texts(image, "references") or (NOTHING,):
            rows.append(
                [
                    reference,
                    _id(image, whole=whole),
                    text(image, "platform"),
                    human_age(number(image, "pulled")),
                    human_size(whole_number(image, "size")),
                ]
            )
            if digests:
                rows[-1].insert(1, text(image, "digest"))
    if digests:
        head.insert(1, "DIGEST")
    print_table(head, rows)


def _inspect(words: list[str], options: Globals) -> int:
    parser = Parser("monocore images inspect", "Show everything known of images, as a JSON list.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="reference or id")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of the image (default: this host's)")
    parser.add_argument("--json", action="store_true", help="as JSON (always so)")
    add_globals(parser)
    parsed = parser.flags(words, options)
    platform = parse_platform(parsed.platform) if parsed.platform else None

    def work(images: Images) -> int:
        found: list[Table] = []
        status = for_each(
            parsed.images, lambda name: found.append(images.details(name, platform)), debug=options.debug
        )
        print_document(found)
        return status

    return with_images(options, work)


def _remove(words: list[str], options: Globals) -> int:
    parser = Parser("monocore images rm", "Remove names of images, and images that have no name left.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="reference or id")
    parser.add_argument("-f", "--force", action="store_true", help="also with several names, or in use")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(images: Images) -> int:
        return for_each(
            parsed.images,
            lambda name: _print_removal(images.remove(name, force=parsed.force)),
            debug=options.debug,
        )

    return with_images(options, work)


def _prune(words: list[str], options: Globals) -> int:
    parser = Parser("monocore images prune", "Remove what no image and no sandbox needs.")
    parser.add_argument(
        "-a", "--all", action="store_true", help="also images with a name, unless a sandbox uses them"
    )
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    add_globals(parser)
    parsed = parser.flags(words, options)
    if not parsed.force and not _confirmed(everything=parsed.all):
        return 0

    def work(images: Images) -> int:
        removal = images.prune(everything=parsed.all)
        _print_removal(removal)
        print(f"Total reclaimed space: {human_size(whole_number(removal, 'reclaimed'))}")
        return 0

    return with_images(options, work)


def _print_removal(removal: Table) -> None:
    for name in texts(removal, "untagged"):
        print(clean(f"Untagged: {name}"))
    for digest in texts(removal, "deleted"):
        print(clean(f"Deleted: {digest}"))


def _confirmed(*, everything: bool) -> bool:
    what = "every image that no sandbox uses" if everything else "every image without a name"
    try:
        answer = input(f"This removes {what}. Continue? [y/N] ")
    except EOFError as error:
        print()
        raise Conflict("not confirmed", hint="give -f to remove without a question") from error
    return answer.strip().lower() in ("y", "yes")


def _id(image: Table, *, whole: bool) -> str:
    digest = text(image, "digest")
    return digest if whole else Digest.parse(digest).short
