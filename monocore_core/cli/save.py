"""``monocore images save``: images as one archive, for docker, podman, skopeo, or another monocore."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from monocore_core.cli import faraway
from monocore_core.cli.arguments import Parser, Value, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.parts import parse_platform
from monocore_core.cli.reach import remote_of
from monocore_core.cli.signals import ending_signals_raise
from monocore_core.cli.terminal import STDOUT, is_terminal
from monocore_core.errors import InvalidInput, NotFound, StorageError
from monocore_core.model.oci import Platform
from monocore_core.store.compress import Compression
from monocore_core.store.export import Chosen, export_images
from monocore_core.supply import Supply


def main(words: list[str], options: Globals) -> int:
    """Run the command."""
    parser = Parser(
        "monocore images save",
        "Write images as one OCI archive, which docker load, podman load and skopeo read as well.",
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="reference or id; a reference is kept as the name"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output)")
    parser.add_argument(
        "--compress",
        action=Value,
        parse=_compression,
        default=Compression.NONE,
        metavar="HOW",
        help="layers with gzip or zstd (default: none)",
    )
    parser.add_argument(
        "--platform",
        action=Value,
        parse=parse_platform,
        metavar="OS/ARCH",
        help="of the images (default: this host's)",
    )
    add_globals(parser)
    parsed = parser.flags(words, options)
    if parsed.output is None and is_terminal(STDOUT):
        raise InvalidInput(
            "an archive is not for a terminal", hint="give -o FILE, or redirect standard output"
        )
    remote = remote_of(options)
    if remote is not None:
        with ending_signals_raise(), _sink(parsed.output) as sink:
            faraway.save(remote, parsed.images, parsed.platform, parsed.compress.value, sink)
        return 0
    platform: Platform = parsed.platform or Platform.host()

    async def save() -> None:
        async with open_supply(settings_for(options)) as supply:
            chosen = [_choose(supply, text, platform) for text in parsed.images]
            with ending_signals_raise(), _sink(parsed.output) as sink:
                export_images(supply.store, chosen, sink, parsed.compress)

    asyncio.run(save())
    return 0


def _compression(text: str) -> Compression:
    try:
        return Compression(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no compression", hint=f"one of {', '.join(Compression)}") from error


def _choose(supply: Supply, text: str, platform: Platform) -> Chosen:
    image = supply.store.resolve_image(text, platform, parse=supply.reference)
    if image is None:
        raise NotFound(f"image {text!r} is not in the store", hint="monocore images lists them")
    try:
        reference = supply.reference(text)
    except InvalidInput:  # an id
        return Chosen(image)
    return Chosen(image, (reference,) if str(reference) in image.references else ())


@contextmanager
def _sink(output: str | None) -> Generator[BinaryIO]:
    """Standard output, or a file that is there when it is complete, and not before."""
    if output is None:
        yield sys.stdout.buffer
        return
    target = Path(output)
    try:
        special = target.exists() and not stat.S_ISREG(target.stat().st_mode)
        with target.open("wb") if special else _appearing(target) as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {output}: {error.strerror or error}") from error


@contextmanager
def _appearing(target: Path) -> Generator[BinaryIO]:
    """A file without a name, which the kernel deletes however we end, until it is complete and takes its place.

    Where the system or the file system knows no such files, it has another name meanwhile.
    """
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    fd = _nameless(target.parent)
    nameless = fd is not None
    if fd is None:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
            if nameless:
                _link(fd, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _nameless(folder: Path) -> int | None:
    """A file in ``folder`` that has no name; None where there are no such files."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
        return None


def _link(fd: int, path: Path) -> None:
    """Give a file without a name one; see open(2), "O_TMPFILE". A folder's descriptor makes Python follow the symlink in /proc."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
