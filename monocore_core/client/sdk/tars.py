"""Folders of this host to tars, and tars of a sandbox to folders of this host, which are not believed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

from monocore_core.errors import Corrupt, NotFound, StorageError


def pack(source: Path, stream: IO[bytes]) -> None:
    """A tar of what is in a folder; owners are root, as in the sandbox. Leaves the stream at its beginning.

    Raises:
        StorageError: it cannot be read, or there is no room.
    """
    with _storage(f"pack {source}"):
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(os.listdir(source)):
                tar.add(source / name, arcname=name, filter=_owned_by_root)
        stream.seek(0)


def unpack(stream: IO[bytes], top: str, target: Path) -> None:
    """Unpack the folder ``top`` of a sandbox's tar as ``target``, which must not be there. What would lie, or lead, elsewhere is refused.

    Raises:
        Corrupt: it is no tar, or has an entry that leads elsewhere. StorageError: it cannot be written.
    """
    with _storage(f"unpack into {target}"):
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                tar.extractall(folder, filter="data")
            found = folder / top if top else folder
            if not found.is_dir() or found.is_symlink():
                raise Corrupt(f"the sandbox's archive has no folder {top!r}")
            found.rename(target)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            # the last three of numbers, NULs and chains of headers that the library takes as they come
            raise Corrupt(f"the sandbox's archive cannot be unpacked here: {str(error)[:200]}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def written_whole(target: Path) -> Generator[IO[bytes]]:
    """A file that is there when all of it has been written, and not before.

    Raises:
        StorageError: it cannot be written.
    """
    with _storage(f"write {target}"):
        fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def opened(source: Path) -> IO[bytes]:
    """A file of this host, to be read.

    Raises:
        NotFound, StorageError: it is not there, or cannot be read.
    """
    with _storage(f"read {source}"):
        return source.open("rb")


@contextlib.contextmanager
def _storage(what: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"cannot {what}: no such file or folder") from error
    except OSError as error:
        raise StorageError(f"cannot {what}: {error.strerror or error}") from error


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
