r"""Files of a test image, as plain data, and the tar that holds them.

Example::

    layer = [directory("etc"), file("etc/motd", b"hello\n"), symlink("bin", "usr/bin"), whiteout("etc/old")]
    data = tar_bytes(layer)
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO

from attrs import field, frozen


@frozen
class FileSpec:
    """One member of a layer tar, written as it is: hostile names are possible, and meant to be.

    Attributes:
        path: name in the tar.
        type: as in :mod:`tarfile` (``tarfile.REGTYPE`` …).
        data: content of a regular file.
        mode: permission bits.
        uid: owner.
        gid: group.
        mtime: seconds since the epoch.
        link: target of a symlink or hard link.
        device: (major, minor).
        xattrs: extended attributes, written as PAX ``SCHILY.xattr.*`` records; their values must be UTF-8.
    """

    path: str
    type: bytes = tarfile.REGTYPE
    data: bytes = field(default=b"", repr=False)
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(factory=dict[str, str])


def file(path: str, data: bytes = b"", mode: int = 0o644, *, uid: int = 0, gid: int = 0) -> FileSpec:
    """A regular file."""
    return FileSpec(path, data=data, mode=mode, uid=uid, gid=gid)


def directory(path: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> FileSpec:
    """A folder."""
    return FileSpec(path, tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)


def symlink(path: str, target: str) -> FileSpec:
    """A symbolic link."""
    return FileSpec(path, tarfile.SYMTYPE, mode=0o777, link=target)


def hardlink(path: str, target: str) -> FileSpec:
    """A further name of ``target``, a path in the same tar or in a lower layer."""
    return FileSpec(path, tarfile.LNKTYPE, link=target)


def whiteout(path: str) -> FileSpec:
    """Removes ``path`` of the lower layers (image-spec layer.md, "Whiteouts")."""
    place = PurePosixPath(path)
    return FileSpec(str(place.with_name(f".wh.{place.name}")))


def opaque(path: str) -> FileSpec:
    """Removes everything that lower layers put below the folder ``path``."""
    return FileSpec(str(PurePosixPath(path) / ".wh..wh..opq"))


def tar_bytes(files: Iterable[FileSpec]) -> bytes:
    """A PAX tar of ``files`` in their order; the same files give the same bytes."""
    buffer = io.BytesIO()
    write_tar(files, buffer)
    return buffer.getvalue()


def write_tar(files: Iterable[FileSpec], sink: BinaryIO) -> None:
    """As :func:`tar_bytes`, one file at a time into a stream that need not be seekable."""
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for spec in files:
            archive.addfile(_member(spec), io.BytesIO(spec.data))


def _member(spec: FileSpec) -> tarfile.TarInfo:
    info = tarfile.TarInfo(spec.path)
    info.type, info.mode, info.uid, info.gid, info.mtime = (
        spec.type,
        spec.mode,
        spec.uid,
        spec.gid,
        spec.mtime,
    )
    info.size = len(spec.data)
    info.linkname = spec.link
    info.devmajor, info.devminor = spec.device
    info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in spec.xattrs.items()}
    return info
