"""``monocore images``: list, inspect, remove, prune; :mod:`.load` and :mod:`.save`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.failures import clean, for_each, warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_engine, settings_for
from monocore_core.cli.parts import parse_platform
from monocore_core.cli.render import Json, human_age, human_size, print_json, print_table
from monocore_core.engine import Engine
from monocore_core.errors import Conflict, NotFound
from monocore_core.inventory import image_details, image_summary
from monocore_core.model.events import Event, Warned
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform

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


def _engine(options: Globals, work: Callable[[Engine], int]) -> int:
    async def run() -> int:
        async with open_engine(settings_for(options)) as engine:
            return work(engine)

    return asyncio.run(run())


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

    def work(engine: Engine) -> int:
        images = engine.store.images()
        if parsed.json:
            print_json([image_summary(image) for image in images])
        elif parsed.quiet:
            for identity in dict.fromkeys(_id(image, whole=parsed.no_trunc) for image in images):
                print(identity)
        else:
            _print_images(images, digests=parsed.digests, whole=parsed.no_trunc)
        return 0

    return _engine(options, work)


def _print_images(images: Sequence[Image], *, digests: bool, whole: bool) -> None:
    head = ["IMAGE", "ID", "PLATFORM", "PULLED", "SIZE"]
    rows: list[list[str]] = []
    for image in images:
        for reference in image.references or (NOTHING,):
            rows.append(
                [
                    reference,
                    _id(image, whole=whole),
                    str(image.config.platform),
                    human_age(image.pulled),
                    human_size(image.size),
                ]
            )
            if digests:
                rows[-1].insert(1, str(image.digest))
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
    platform = parse_platform(parsed.platform) if parsed.platform else Platform.host()

    def work(engine: Engine) -> int:
        found: list[Json] = []

        def inspect(text: str) -> None:
            image = engine.store.resolve_image(text, platform, parse=engine.reference)
            if image is None:
                raise NotFound(f"image {text!r} is not in the store", hint="monocore images lists them")
            found.append(image_details(image))

        status = for_each(parsed.images, inspect, debug=options.debug)
        print_json(found)
        return status

    return _engine(options, work)


def _remove(words: list[str], options: Globals) -> int:
    parser = Parser("monocore images rm", "Remove names of images, and images that have no name left.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="reference or id")
    parser.add_argument("-f", "--force", action="store_true", help="also with several names, or in use")
    add_globals(parser)
    parsed = parser.flags(words, options)

    def work(engine: Engine) -> int:
        def remove(text: str) -> None:
            removed, _ = engine.store.remove_image(text, force=parsed.force, parse=engine.reference)
            for name in removed.untagged:
                print(clean(f"Untagged: {name}"))
            for digest in removed.deleted:
                print(f"Deleted: {digest}")

        return for_each(parsed.images, remove, debug=options.debug)

    return _sweeping(options, work)


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

    def work(engine: Engine) -> int:
        removed, reclaimed = engine.store.prune(all_unused=parsed.all)
        for name in removed.untagged:
            print(clean(f"Untagged: {name}"))
        for digest in removed.deleted:
            print(f"Deleted: {digest}")
        print(f"Total reclaimed space: {human_size(reclaimed.bytes)}")
        return 0

    return _sweeping(options, work)


def _sweeping(options: Globals, work: Callable[[Engine], int]) -> int:
    """Do ``work``, then remove merged roots that no image needs any more."""

    async def run() -> int:
        async with open_engine(settings_for(options), _tell) as engine:
            status = work(engine)
            await engine.sweep_roots()
            return status

    return asyncio.run(run())


def _tell(event: Event) -> None:
    if isinstance(event, Warned):
        warn(f"warning: {event.text}")


def _confirmed(*, everything: bool) -> bool:
    what = "every image that no sandbox uses" if everything else "every image without a name"
    try:
        answer = input(f"This removes {what}. Continue? [y/N] ")
    except EOFError as error:
        print()
        raise Conflict("not confirmed", hint="give -f to remove without a question") from error
    return answer.strip().lower() in ("y", "yes")


def _id(image: Image, *, whole: bool) -> str:
    return str(image.digest) if whole else image.digest.short
