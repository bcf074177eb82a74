"""``pull``, ``images load`` and ``images save`` by a daemon elsewhere: images come to its store, or go out of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO

from monocore_core.cli.failures import clean
from monocore_core.cli.progress import PullProgress
from monocore_core.cli.reach import api_of
from monocore_core.cli.signals import ending_signals_raise
from monocore_core.cli.told import event_of
from monocore_core.client.api import problem, target
from monocore_core.client.remote import Remote
from monocore_core.client.tables import Table, inner, parse_table, tables, text, texts
from monocore_core.errors import InvalidInput, StorageError, Unreachable
from monocore_core.model.oci import Platform

_TAR = "application/x-tar"
_CHUNK = 256 * 1024


def pull(
    remote: Remote, image: str, platform: Platform | None, overrides: Mapping[str, str], *, quiet: bool
) -> None:
    """Have it pull an image, and show how that goes."""
    body: dict[str, object] = {"image": image, "platform": _word(platform)}
    if overrides:
        body["settings"] = {"overrides": [list(pair) for pair in overrides.items()]}
    with ending_signals_raise(), PullProgress(quiet=quiet) as progress:
        done = _outcome(api_of(remote).tables("POST", target("images", "pull"), body), progress)
        progress.finished()
    names = texts(done, "references")
    print(clean(names[0] if names and image not in names else image))


def load(
    remote: Remote,
    source: str | None,
    *,
    rootfs: bool,
    tag: str | None,
    platform: Platform | None,
    quiet: bool,
) -> None:
    """Send it an archive.

    Raises:
        InvalidInput: a folder is meant.
        StorageError: it cannot be read.
    """
    path = None if source in (None, "-") else Path(source or "")
    if path is not None and path.is_dir():
        raise InvalidInput(
            f"{source} is a folder, and the daemon at {remote.url} takes an archive",
            hint="tar -C FOLDER -c . | monocore images load",
        )
    where = target("images", "load", rootfs=rootfs, tag=tag, platform=_word(platform))
    try:
        opened = nullcontext(sys.stdin.buffer) if path is None else path.open("rb")
    except OSError as error:
        raise StorageError(f"cannot read {source}: {error.strerror or error}") from error
    with ending_signals_raise(), opened as file, PullProgress(quiet=quiet, verb="Loading") as progress:
        with api_of(remote).open("POST", where, _pieces(file), content_type=_TAR) as answer:
            done = _outcome(map(parse_table, answer.lines()), progress)
        progress.close()
    for image in tables(done, "images"):
        names = texts(image, "names")
        for name in names:
            print(clean(f"Loaded image: {name}"))
        if not names:
            print(clean(f"Loaded image ID: {text(image, 'digest')}"))


def save(
    remote: Remote, images: Sequence[str], platform: Platform | None, compress: str, sink: BinaryIO
) -> None:
    """Write the archive that it makes."""
    body = {"images": list(images), "compress": compress, "platform": _word(platform)}
    with api_of(remote).open("POST", target("images", "save"), body) as answer:
        sink.writelines(answer.chunks())


def _word(platform: Platform | None) -> str | None:
    return None if platform is None else str(platform)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    yield from iter(partial(file.read, _CHUNK), b"")


def _outcome(lines: Iterable[Table], progress: PullProgress) -> Table:
    """What was done, once it is; what happens meanwhile is shown.

    Raises:
        MonocoreError: that the daemon tells. Unreachable: it was gone before the end.
    """
    for line in lines:
        if "error" in line:
            raise problem(inner(line, "error"))
        if "done" in line:
            return inner(line, "done")
        event = event_of(inner(line, "event"))
        if event is not None:
            progress(event)
    raise Unreachable("the daemon was gone before it was done")
