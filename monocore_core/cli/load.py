"""``monocore images load``: every image of an archive or folder into the store."""

from __future__ import annotations

from pathlib import Path

from monocore_core.cli import faraway
from monocore_core.cli.arguments import Parser, Value, add_backends, add_globals, backend_overrides
from monocore_core.cli.failures import clean
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.parts import parse_platform
from monocore_core.cli.progress import PullProgress
from monocore_core.cli.reach import remote_of
from monocore_core.cli.signals import Signals, run_interruptibly
from monocore_core.cli.terminal import STDIN, is_terminal
from monocore_core.errors import InvalidInput
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.reference import Reference, parse_reference
from monocore_core.supply import Supply

_INPUT = "/dev/stdin"
_LAYOUT = ("oci-layout", "index.json", "manifest.json")


def main(words: list[str], options: Globals) -> int:
    """Run the command."""
    parser = Parser(
        "monocore images load",
        "Take images from an archive that docker save, podman save, skopeo or monocore made, compressed or not, "
        "from an OCI layout folder, or from a root file system.",
    )
    parser.add_argument(
        "-i", "--input", metavar="FILE", help="archive or folder, or SCHEME:FILE (default: standard input)"
    )
    parser.add_argument(
        "--rootfs", action="store_true", help="the input is the tar of a root file system, not of images"
    )
    parser.add_argument("-t", "--tag", metavar="NAME", help="give this name to the only image")
    parser.add_argument(
        "--platform",
        action=Value,
        parse=parse_platform,
        metavar="OS/ARCH",
        help="of the images (default: this host's, or the only one that an image is for)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_backends(parser)
    add_globals(parser)
    parsed = parser.flags(words, options)
    if parsed.input is None and is_terminal(STDIN):
        raise InvalidInput(
            "an archive does not come from a terminal", hint="give -i FILE, or redirect standard input"
        )
    names = (_tag(parsed.tag),) if parsed.tag else ()
    platform: Platform | None = parsed.platform
    remote = remote_of(options)
    if remote is not None:
        faraway.load(
            remote,
            parsed.input,
            rootfs=parsed.rootfs,
            tag=parsed.tag,
            platform=platform,
            quiet=parsed.quiet,
        )
        return 0
    settings = settings_for(options, backend_overrides(parsed))

    async def load(signals: Signals) -> int:
        del signals
        with PullProgress(quiet=parsed.quiet, verb="Loading") as progress:
            async with open_supply(settings, progress) as supply:
                place = place_of(supply, parsed.input, rootfs=parsed.rootfs)
                async for image, given in supply.load(place, platform, names):
                    progress.close()
                    _say(image, given)
        return 0

    return run_interruptibly(load)


def place_of(supply: Supply, text: str | None, *, rootfs: bool) -> Reference:
    """What the input is: as it says by a scheme, or as it looks."""
    if text is not None and (found := supply.local_reference(text)) is not None:
        return found
    path = Path.cwd() / (_INPUT if text in (None, "-") else text or "")
    scheme = "rootfs" if rootfs else "oci-archive"
    if path.is_dir() and not rootfs:
        scheme = "oci" if any((path / name).exists() for name in _LAYOUT) else "rootfs"
    return Reference("", str(path), scheme=scheme)


def _tag(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest is not None:
        raise InvalidInput(f"--tag: {text} has a digest, which is not ours to give")
    return reference


def _say(image: Image, given: tuple[Reference, ...]) -> None:
    for name in given:
        print(clean(f"Loaded image: {name.familiar}"), flush=True)
    if not given:
        print(f"Loaded image ID: {image.digest}", flush=True)
