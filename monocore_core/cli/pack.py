"""A file or folder of this host as a tar archive, in pieces, without a temporary file."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Iterator

from monocore_core.cli.descriptors import CHUNK
from monocore_core.errors import StorageError


def pack(source: str, called: str, *, archive: bool = False) -> Iterator[bytes]:
    """The archive of ``source``. Links are kept as links; sockets are left out.

    Args:
        source: a file, or a folder.
        called: its name in the archive; "": the content of the folder.
        archive: keep owners; otherwise everything is root's.

    Raises:
        StorageError: something cannot be read.
    """
    reader, writer = os.pipe()
    failed: list[Exception] = []

    def write() -> None:
        try:
            with (
                os.fdopen(writer, "wb") as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar,
            ):
                tar.add(source, called or ".", filter=None if archive else _of_root)
        except Exception as error:  # noqa: BLE001 - raised again by the one who takes the pieces
            failed.append(error)

    thread = threading.Thread(target=write, name="pack", daemon=True)
    thread.start()
    with os.fdopen(reader, "rb", buffering=0) as pieces:
        while data := pieces.read(CHUNK):
            yield data
    thread.join()
    for error in failed:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageError(f"cannot read {getattr(error, 'filename', None) or source}: {reason}") from error


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
