"""The files of a sandbox."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from monocore_core.client.sdk import file_routes, tars
from monocore_core.client.sdk.blocking.link import Link
from monocore_core.client.sdk.values import Change, Entry
from monocore_core.errors import LimitExceeded

#: Bytes that :meth:`Files.read` gives unless more is asked for.
MAX_READ = 256 * 1024 * 1024
_CHUNK = 256 * 1024


class Files:
    """Paths are absolute, and the sandbox's; its agent does the work, as root there."""

    def __init__(self, link: Link, identity: str) -> None:
        self._link = link
        self._id = identity

    def read(self, path: str, *, limit: int = MAX_READ) -> bytes:
        """The content of a file.

        Raises:
            NotFound: there is none. LimitExceeded: it is larger than ``limit`` bytes.
        """
        found = bytearray()
        with closing(self._link.chunks(file_routes.file(self._id, path))) as chunks:
            for chunk in chunks:
                found += chunk
                if len(found) > limit:
                    raise LimitExceeded(
                        f"{path} is larger than {limit} bytes", hint="raise limit, or download it"
                    )
        return bytes(found)

    def read_text(self, path: str, *, limit: int = MAX_READ) -> str:
        """The content of a file as UTF-8; what is none is replaced.

        Raises:
            NotFound, LimitExceeded: as :meth:`read`.
        """
        return (self.read(path, limit=limit)).decode("utf-8", "replace")

    def write(self, path: str, data: bytes | str, *, mode: int | None = None, parents: bool = False) -> None:
        """Write a file as a whole: readers see what was before, or all of it.

        Args:
            path: of the file.
            data: its content; text becomes UTF-8.
            mode: permission bits; None: 0o644, or those of the file that is there.
            parents: make missing folders.

        Raises:
            NotFound: its folder is missing. GuestError: it cannot be written.
        """
        raw = data.encode() if isinstance(data, str) else data
        where = file_routes.written_file(self._id, path, mode=mode, parents=parents)
        self._link.put(where, _pieces(raw))

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder, by name.

        Raises:
            NotFound: there is none.
        """
        found: list[Entry] = []
        after: str | None = None
        while True:
            page, after = self._link.call(file_routes.list_files(self._id, path, after))
            found += page
            if after is None:
                return tuple(found)

    def stat(self, path: str, *, follow: bool = True) -> Entry:
        """What is there; of a link what it leads to, unless ``follow`` is False.

        Raises:
            NotFound: nothing.
        """
        return self._link.call(file_routes.stat(self._id, path, follow=follow))

    def make(self, path: str, *, parents: bool = False, mode: int | None = None) -> None:
        """Make a folder.

        Raises:
            Conflict: something is there. NotFound: its folder is missing.
        """
        self._link.call(file_routes.make_folder(self._id, path, parents=parents, mode=mode))

    def move(self, source: str, target: str, *, replace: bool = False) -> None:
        """Rename, within one file system.

        Raises:
            NotFound: there is no ``source``. Conflict: ``target`` is there, and not to be replaced.
        """
        self._link.call(file_routes.move_file(self._id, source, target, replace=replace))

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link itself, or a folder: an empty one, or with everything in it.

        Raises:
            NotFound: there is none. Conflict, GuestError: it is not empty.
        """
        self._link.call(file_routes.remove_file(self._id, path, recursive=recursive))

    def upload(self, source: str | os.PathLike[str], target: str) -> None:
        """Send a file, or what is in a folder, of this host: ``target`` becomes its like.

        Raises:
            NotFound, StorageError: it cannot be read here. GuestError: it cannot be written there.
        """
        local = Path(source)
        if local.is_dir():
            with TemporaryFile() as stream:
                tars.pack(local, stream)
                self._link.put(file_routes.archive(self._id, target), _read(stream))
                return
        with tars.opened(local) as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            where = file_routes.written_file(self._id, target, mode=mode, parents=True)
            self._link.put(where, _read(stream))

    def download(self, source: str, target: str | os.PathLike[str]) -> None:
        """Fetch a file as the file ``target`` of this host, or a folder as the folder, which must not be there.

        Links and names that would lead out of the folder, devices and the like are refused: the sandbox is not believed.

        Raises:
            NotFound: there is no ``source``. Corrupt: the folder has what is refused. StorageError: it cannot be written here.
        """
        local = Path(target)
        if (self.stat(source)).kind != "folder":
            with tars.written_whole(local) as stream:
                self._fetch(file_routes.file(self._id, source), stream)
            return
        with TemporaryFile() as stream:
            self._fetch(file_routes.archive(self._id, source), stream)
            stream.seek(0)
            tars.unpack(stream, source.rstrip("/").rpartition("/")[2], local)

    def watch(self, path: str, *, recursive: bool = False) -> Generator[Change]:
        """Changes below a path, from the first that is asked for, until it is closed or what is watched is gone.

        Raises:
            NotFound: there is nothing.
        """
        with closing(self._link.lines(file_routes.watch(self._id, path, recursive=recursive))) as changes:
            yield from changes

    def _fetch(self, where: str, stream: IO[bytes]) -> None:
        with closing(self._link.chunks(where)) as chunks:
            for chunk in chunks:
                stream.write(chunk)


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _CHUNK):
        yield data[at : at + _CHUNK]


def _read(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
