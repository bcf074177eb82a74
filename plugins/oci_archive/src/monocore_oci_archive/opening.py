"""From a scheme and a path to an opened place, its format told by what is in it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, Unsupported
from monocore_oci_archive.content import Content
from monocore_oci_archive.decompress import Decompressor
from monocore_oci_archive.docker_save import LIST, DockerSaveContent
from monocore_oci_archive.inputs import Fingerprint, file_fingerprint, open_input, reading
from monocore_oci_archive.layout import LayoutContent, is_layout
from monocore_oci_archive.members import FolderMembers, Members, index_tar
from monocore_oci_archive.options import ArchiveOptions
from monocore_oci_archive.places import Place, split_place
from monocore_oci_archive.rootfs import RootfsContent
from monocore_oci_archive.stopping import Stop
from monocore_oci_archive.tree import tree_fingerprint

ROOTFS = "rootfs"
#: Only this one is in archives by docker before 1.10.
_ANCIENT = "repositories"


@frozen
class Opener:
    """Opens places.

    Attributes:
        cache: folder for what is unpacked.
        options: bounds.
        decompressor: of archives that are compressed.
    """

    cache: Path
    options: ArchiveOptions
    decompressor: Decompressor

    def place(self, scheme: str, text: str) -> Place:
        """What a reference means."""
        if scheme == ROOTFS:
            return Place(text)
        return split_place(text, os.path.lexists)

    def fingerprint(self, scheme: str, path: str, stop: Stop) -> Fingerprint:
        """What is there now; of the files in a root file system's folder as well."""
        if scheme == ROOTFS and _is_folder(path):
            return tree_fingerprint(path, self.options.max_files, stop)
        index = os.path.join(path, "index.json")  # noqa: PTH118 - the path may have any bytes in it
        # blobs never change under their name, so a layout is what its index says; the folder itself may stay the same
        return file_fingerprint(index if _is_folder(path) and os.path.lexists(index) else path)

    def open(self, scheme: str, path: str, stop: Stop) -> Content:
        """Open it.

        Raises:
            NotFound, StorageError: it is not there, or cannot be read.
            InvalidInput: nothing that we know.
            Corrupt, Unsupported, LimitExceeded: damaged, or beyond a bound.
        """
        try:
            return self._open(scheme, path, stop)
        except (Corrupt, LimitExceeded) as error:
            if path in error.brief:
                raise
            raise type(error)(f"{path}: {error.brief}", hint=error.hint) from error

    def _open(self, scheme: str, path: str, stop: Stop) -> Content:
        folder = _is_folder(path)
        if scheme == ROOTFS:
            if folder:
                return RootfsContent.of_folder(path, self.cache, self.options, stop)
            return RootfsContent.of_tar(path, self._input(path, stop), stop)
        if folder:
            return self._known(FolderMembers(path, path))
        fd = self._input(path, stop)
        try:
            return self._known(index_tar(path, fd, stop))
        except BaseException:
            os.close(fd)
            raise

    def _input(self, path: str, stop: Stop) -> int:
        return open_input(path, self.cache, self.options, self.decompressor, stop)

    def _known(self, members: Members) -> Content:
        what = members.what
        if is_layout(members):
            return LayoutContent.read(members)
        if _has(members, LIST):
            return DockerSaveContent.read(members)
        if _has(members, _ANCIENT):
            raise Unsupported(
                f"{what} is of a docker older than 1.10", hint="save it again with a current one"
            )
        raise InvalidInput(
            f"{what} is no image archive: it has neither index.json nor manifest.json",
            hint=f"if it is a root file system: rootfs:{what}, or monocore images load --rootfs",
        )


def _is_folder(path: str) -> bool:
    with reading(path):
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116


def _has(members: Members, name: str) -> bool:
    with suppress(NotFound), members.open(name):
        return True
    return False
