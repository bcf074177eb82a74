"""``monocore pull IMAGE``: the image's name on standard output, progress on standard error."""

from __future__ import annotations

from monocore_core.cli import faraway
from monocore_core.cli.arguments import Parser, Value, add_backends, add_globals, backend_overrides
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.parts import parse_platform
from monocore_core.cli.progress import PullProgress
from monocore_core.cli.reach import remote_of
from monocore_core.cli.signals import Signals, run_interruptibly
from monocore_core.model.oci import Platform


def main(words: list[str], options: Globals) -> int:
    """Run the command."""
    parser = Parser(
        "monocore pull", "Download an image, or what is missing of it, into the store, and make its root."
    )
    parser.add_argument("image", metavar="IMAGE", help="for example alpine:3.20, or host:5000/name@sha256:…")
    parser.add_argument(
        "--platform",
        action=Value,
        parse=parse_platform,
        metavar="OS/ARCH",
        help="of the image (default: this host's)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_backends(parser)
    add_globals(parser)
    parsed = parser.flags(words, options)
    remote = remote_of(options)
    if remote is not None:
        faraway.pull(remote, parsed.image, parsed.platform, backend_overrides(parsed), quiet=parsed.quiet)
        return 0
    settings = settings_for(options, backend_overrides(parsed))
    platform: Platform = parsed.platform or Platform.host()

    async def pull(signals: Signals) -> int:
        del signals
        with PullProgress(quiet=parsed.quiet) as progress:
            async with open_supply(settings, progress) as supply:
                image = await supply.pull(parsed.image, platform)
                await supply.assemble(image)
                progress.finished()
                name = str(supply.reference(parsed.image))
        print(clean(name if name in image.references or not image.references else image.references[0]))
        return 0

    return run_interruptibly(pull)
