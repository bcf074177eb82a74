"""A machine's disks, opened by us: QEMU gets descriptors, so that its process needs no right to any path.

QEMU opens ``/dev/fdset/NUMBER`` as the descriptor of that set whose access mode is the one that it wants (``-add-fd``). The extents of a VMDK are
named in its descriptor file: QEMU gets a copy of that which names sets instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from attrs import define, field

from monocore_core.errors import MachineError
from monocore_core.model.machine import Disk
from monocore_core.model.rootfs import DiskFormat

#: Bytes of a VMDK's descriptor file; an extent takes some hundred.
_MAX_DESCRIPTOR = 1024 * 1024
_DESCRIPTOR = b"# Disk DescriptorFile"
_EXTENT = re.compile(rb'^((?:RW|RDONLY) [0-9]+ FLAT) "([^"\n]+)"', re.MULTILINE)
_FLAGS = os.O_CLOEXEC | os.O_NOCTTY


@define
class Sets:
    """Sets of descriptors for one QEMU.

    Attributes:
        pairs: descriptor and set, for ``-add-fd``.
        count: of sets that there are already.
    """

    _stack: ExitStack
    pairs: list[tuple[int, int]] = field(factory=list[tuple[int, int]])
    _count: int = field(default=0, alias="count")

    def add(self, *descriptors: int) -> str:
        """Put descriptors into a set; gives its name for QEMU."""
        self._count += 1
        self.pairs += [(descriptor, self._count) for descriptor in descriptors]
        return f"/dev/fdset/{self._count}"

    def disk(self, disk: Disk, *, changing: bool = False) -> str:
        """Open a disk; gives its name for QEMU.

        Args:
            disk: to open.
            changing: whether QEMU opens it for reading and for writing, one after the other.

        Raises:
            MachineError: it cannot be opened.
        """
        if disk.format is DiskFormat.VMDK and (text := self._descriptor_of(disk)) is not None:
            return self.add(self._copy(text, disk))
        writable = not disk.readonly
        modes = (os.O_RDONLY, os.O_RDWR) if changing else (os.O_RDWR if writable else os.O_RDONLY,)
        return self.add(*(self._open(disk.path, mode) for mode in modes))

    def _open(self, path: Path, mode: int) -> int:
        try:
            descriptor = os.open(path, mode | _FLAGS)
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror}") from error
        self._stack.callback(os.close, descriptor)
        return descriptor

    def _descriptor_of(self, disk: Disk) -> bytes | None:
        try:
            with disk.path.open("rb") as file:
                text = file.read(_MAX_DESCRIPTOR + 1)
        except OSError as error:
            raise MachineError(f"{disk.path}: {error.strerror}") from error
        if not text.startswith(_DESCRIPTOR):
            return None
        if len(text) > _MAX_DESCRIPTOR:
            raise MachineError(f"{disk.path}: its VMDK descriptor is longer than {_MAX_DESCRIPTOR} bytes")
        return text

    def _copy(self, text: bytes, disk: Disk) -> int:
        """The descriptor file with sets for its extents, as a file in memory."""
        mode = os.O_RDONLY if disk.readonly else os.O_RDWR
        names = {path: self.add(self._open(disk.path.parent / path, mode)) for path in set(_extents(text))}
        changed = _EXTENT.sub(
            lambda found: b'%s "%s"' % (found[1], names[Path(os.fsdecode(found[2]))].encode()), text
        )
        file = os.memfd_create("vmdk", os.MFD_CLOEXEC)
        self._stack.callback(os.close, file)
        os.write(file, changed)
        return self._open(Path(f"/proc/self/fd/{file}"), mode)


def _extents(text: bytes) -> Iterator[Path]:
    """Files that a VMDK's descriptor names."""
    for _, path in _EXTENT.findall(text):
        yield Path(os.fsdecode(path))
