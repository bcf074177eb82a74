"""``monocore cp``: files between this host and a sandbox, by Docker's rules.

A folder is copied itself where the destination is a folder; its content alone when the source ends in ``/.``, or when the destination
is not there yet. A file takes the destination's name, unless that is a folder. A destination that ends in ``/`` must be a folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from monocore_core.cli.arguments import Parser, UsageError, add_globals
from monocore_core.cli.descriptors import CHUNK, OutputClosed, write_all
from monocore_core.cli.globals import Globals
from monocore_core.cli.reach import reach
from monocore_core.cli.terminal import STDIN, STDOUT, is_terminal
from monocore_core.client.api import Api, target
from monocore_core.errors import Conflict, InvalidInput, NotFound

PROG = "monocore cp"
USAGE = "monocore cp [OPTIONS] SANDBOX:PATH PATH|-\n       monocore cp [OPTIONS] PATH|- SANDBOX:PATH"
TAR = "application/x-tar"
#: Kinds of what a path names: see :func:`kind_within`.
FOLDER, FILE, NOTHING = "folder", "file", ""


def main(words: list[str], options: Globals) -> int:
    """Run ``cp``."""
    parsed = _parser().flags(words, options)
    source, destination = split_place(parsed.source), split_place(parsed.destination)
    if (source[0] is None) == (destination[0] is None):
        which = "both are this host's" if source[0] is None else "both are sandboxes'"
        raise UsageError(f"one of the paths must be a sandbox's, SANDBOX:PATH, and {which}", None, PROG)
    api = reach(options)
    try:
        if source[0] is not None:
            _out(api, source[0], source[1], destination[1], parsed)
        else:
            _in(api, source[1], destination[0] or "", destination[1], parsed)
    except OutputClosed as error:
        raise BrokenPipeError from error
    return 0


def split_place(text: str) -> tuple[str | None, str]:
    """Sandbox, or None for this host, and path. As in Docker, a path of this host that has a colon begins with ``/`` or ``.``. Pure."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")) or not name:
        return None, text
    return name, path


def _parser() -> Parser:
    parser = Parser(
        PROG,
        "Copy files and folders from or to a running sandbox; '-' is a tar archive on standard input or output.",
        usage=USAGE,
    )
    parser.add_argument("source", metavar="SOURCE", help="SANDBOX:PATH, a path here, or '-'")
    parser.add_argument("destination", metavar="DESTINATION", help="likewise")
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners, and set-ID bits")
    parser.add_argument(
        "-L", "--follow-link", action="store_true", help="copy what a link that is SOURCE points to"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="accepted for habit")
    add_globals(parser)
    return parser


def kind_within(api: Api, name: str, path: str) -> str:
    """FOLDER, FILE (anything else that is there) or NOTHING, as the first header of its archive says; the rest of that is not asked for.

    Raises:
        NotFound: there is no such sandbox. Conflict: it does not run.
    """
    import tarfile

    # a sandbox that is not there is told apart from a path that is not
    api.call("GET", target("sandboxes", name))
    try:
        with (
            api.open("GET", target("sandboxes", name, "archive", path=path)) as answer,
            closing(answer.chunks()) as chunks,
            tarfile.open(fileobj=cast("IO[bytes]", Pieces(chunks)), mode="r|") as archive,
        ):
            first = archive.next()
    except NotFound:
        return NOTHING
    except tarfile.TarError as error:
        raise InvalidInput(f"what is at {name}:{path} cannot be told: {error}") from error
    return FOLDER if first is None or first.isdir() else FILE


class Pieces:
    """A readable file of what an iterator gives."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, and less only at the end."""
        found = bytearray(self._rest)
        while size < 0 or len(found) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            found += piece
        if size < 0:
            size = len(found)
        self._rest = bytes(found[size:])
        return bytes(found[:size])


# to this host


def _out(api: Api, name: str, path: str, destination: str, parsed: argparse.Namespace) -> None:
    path = _absolute(path)
    content = path.endswith("/.") or path == "/"
    where = target("sandboxes", name, "archive", path=_plain(path))
    if destination == "-":
        if is_terminal(STDOUT):
            raise InvalidInput("an archive is not written to a terminal", hint="redirect standard output")
        sys.stdout.flush()
        with api.open("GET", where) as answer:
            for chunk in answer.chunks():
                write_all(STDOUT, chunk)
        return
    from monocore_core.cli.unpack import Unpacking, unpack

    with api.open("GET", where) as answer, closing(answer.chunks()) as chunks:
        what = Unpacking(destination, content=content, archive=parsed.archive, label=f"{name}:{path}")
        unpack(Pieces(chunks), what)


# to a sandbox


def _in(api: Api, source: str, name: str, path: str, parsed: argparse.Namespace) -> None:
    path = _absolute(path)
    plain = _plain(path)
    if source == "-":
        if is_terminal(STDIN):
            raise InvalidInput("an archive is not read from a terminal", hint="redirect standard input")
        if kind_within(api, name, plain) != FOLDER:
            raise NotFound(f"there is no folder {name}:{path} to unpack into")
        _put(api, name, plain, _file_pieces(sys.stdin.buffer))
        return
    from monocore_core.cli.pack import pack

    real = os.path.realpath(source) if parsed.follow_link else source.rstrip("/") or "/"
    if not os.path.lexists(real):
        raise NotFound(f"{source} does not exist")
    folder = Path(real).is_dir() and not (Path(real).is_symlink() and not source.endswith(("/", "/.")))
    content = source.endswith("/.") or real in ("/", ".", "..")
    into, called = plan_in(
        kind_within(api, name, plain),
        path,
        Path(source).name,
        folder=folder,
        content=content,
    )
    _put(api, name, into, pack(real, called, archive=parsed.archive))


def plan_in(kind: str, path: str, called: str, *, folder: bool, content: bool) -> tuple[str, str]:
    """Into which folder of the sandbox is unpacked, and what the source is called in there ("": its content is unpacked). Pure.

    Args:
        kind: what ``path`` is now.
        path: the destination, absolute.
        called: the source's name.
        folder: the source is a folder.
        content: its content alone is meant.

    Raises:
        Conflict, NotFound: it cannot be.
    """
    plain = _plain(path)
    if kind == FOLDER:
        return plain, "" if folder and content else called
    if folder and kind == FILE:
        raise Conflict(f"{path} is a file, and the source is a folder")
    if folder:
        return plain, ""
    if path.endswith(("/", "/.")):
        raise NotFound(f"there is no folder {path} in the sandbox")
    return str(PurePosixPath(plain).parent), PurePosixPath(plain).name


def _put(api: Api, name: str, path: str, pieces: Iterator[bytes]) -> None:
    with api.open("PUT", target("sandboxes", name, "archive", path=path), pieces, content_type=TAR) as answer:
        answer.read()


def _file_pieces(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(CHUNK):
        yield data


def _absolute(path: str) -> str:
    """As Docker, a path in a sandbox is from its root."""
    return path if path.startswith("/") else f"/{path}"


def _plain(path: str) -> str:
    """Without what only tells how to copy."""
    while path.endswith(("/", "/.")) and path != "/":
        path = path.removesuffix(".").rstrip("/") or "/"
    return path
