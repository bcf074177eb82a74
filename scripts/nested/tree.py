"""Files of this host, under their own paths, as a layer: symlinks stay symlinks, wherever on the way they stand."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field

from monocore_core.testing.filespec import FileSpec

#: As the kernel's own limit of links in one path (path_resolution(7)).
_MAX_LINKS = 40

Skip = Callable[[Path], bool]


def nothing(path: Path) -> bool:
    """Skip nothing."""
    del path
    return False


@define(eq=False)
class Tree:
    """A choice of paths.

    Attributes:
        base: ``/``, or a folder that stands for it.
    """

    base: Path = Path("/")
    _chosen: set[str] = field(factory=set[str], init=False)

    @property
    def paths(self) -> list[str]:
        """Chosen paths relative to the root, none of which leads through a symlink, parents first."""
        return sorted(self._chosen, key=lambda path: path.split("/"))

    def add(self, path: Path) -> Path:
        """Choose a file or a folder (without what is in it), every folder above it and every symlink on the way.

        Returns:
            Where it is in truth: an absolute path without symlinks.

        Raises:
            OSError: it does not exist, or its symlinks lead in a circle.
        """
        parts = _names(path)
        place: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                del place[-1:]
                continue
            here = "/".join([*place, part])
            status = (self.base / here).lstat()
            self._chosen.add(here)
            if not stat.S_ISLNK(status.st_mode):
                place.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(f"{path}: too many symlinks")
            target = (self.base / here).readlink()
            if target.is_absolute():
                place = []
            parts = [*_names(target), *parts]
        return Path("/", *place)

    def add_folder(self, path: Path, skip: Skip = nothing) -> None:
        """Choose a folder and, below it, everything that ``skip`` does not refuse by its absolute path."""
        real = self.add(path)
        for folder, names, files in os.walk(self.base / real.relative_to("/")):
            place = Path("/") / Path(folder).relative_to(self.base)
            names[:] = [name for name in names if not skip(place / name)]
            for name in (*names, *(name for name in files if not skip(place / name))):
                self._chosen.add(str((place / name).relative_to("/")))

    def specs(self) -> Iterator[FileSpec]:
        """The layer's members; a file's bytes are read when its turn comes. What is no file, folder or symlink is left out."""
        for name in self.paths:
            path = self.base / name
            status = path.lstat()
            mode, mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
            if stat.S_ISDIR(status.st_mode):
                yield FileSpec(name, tarfile.DIRTYPE, mode=mode, mtime=mtime)
            elif stat.S_ISLNK(status.st_mode):
                yield FileSpec(name, tarfile.SYMTYPE, mode=0o777, link=str(path.readlink()), mtime=mtime)
            elif stat.S_ISREG(status.st_mode):
                yield FileSpec(name, data=path.read_bytes(), mode=mode, mtime=mtime)


def _names(path: Path) -> list[str]:
    return [part for part in path.parts if part != "/"]
