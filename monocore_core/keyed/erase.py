"""Removes folders that somebody else filled: however deep, whatever the modes, and never by following a link.

Recursion would need a stack frame and a descriptor a level, and a guest may make millions of levels. Instead every folder that
is found is moved up beside the first ones, so there is one level, and two descriptors.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def erase(path: Path) -> None:
    """Remove the folder at ``path`` with everything in it. One that does not exist is not an error.

    What is killed in the middle can be called again. A mount point in it is left, and is an error.

    Raises:
        OSError: something cannot be removed.
    """
    try:
        top = os.open(path, _FOLDER)
    except FileNotFoundError:
        return
    except PermissionError:
        path.chmod(0o700)
        top = os.open(path, _FOLDER)
    try:
        os.fchmod(top, 0o700)
        _Eraser(top).run()
    finally:
        os.close(top)
    path.rmdir()


class _Eraser:
    """Empties the folder that ``top`` is open on."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._waiting: list[str] = []
        self._prefix = f".{os.urandom(8).hex()}."
        self._moved = 0

    def run(self) -> None:
        """Until nothing is left."""
        self._waiting = self._unlink_files(self._top)
        while self._waiting:
            name = self._waiting.pop()
            folder = self._open(name)
            try:
                for child in self._unlink_files(folder):
                    self._lift(folder, child)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=self._top)

    def _open(self, name: str) -> int:
        """A folder in ``top``, made ours to change."""
        with suppress(PermissionError):
            folder = os.open(name, _FOLDER, dir_fd=self._top)
            if os.fstat(folder).st_mode & 0o700 != 0o700:
                os.fchmod(folder, 0o700)
            return folder
        os.chmod(name, 0o700, dir_fd=self._top)
        return os.open(name, _FOLDER, dir_fd=self._top)

    def _unlink_files(self, folder: int) -> list[str]:
        """Remove all but folders, whose names are returned."""
        folders: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=folder)
        return folders

    def _lift(self, folder: int, name: str) -> None:
        """Move a folder up to ``top``. One that holds nothing goes at once."""
        with suppress(OSError):
            os.rmdir(name, dir_fd=folder)
            return
        target = f"{self._prefix}{self._moved}"
        self._moved += 1
        try:
            os.rename(name, target, src_dir_fd=folder, dst_dir_fd=self._top)
        except PermissionError:  # its ".." is about to change, which takes the right to write into it
            os.chmod(name, 0o700, dir_fd=folder)
            os.rename(name, target, src_dir_fd=folder, dst_dir_fd=self._top)
        self._waiting.append(target)
