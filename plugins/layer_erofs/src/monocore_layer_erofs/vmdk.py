"""Flat VMDK descriptors: several files read as one disk.

QEMU (``block/vmdk.c``) and libkrun read them. QEMU takes at most 1 MiB of descriptor and 511 bytes of path, with no way to
quote a character, and reads the extent after an empty line twice (its ``sscanf`` skips line ends): there is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Unsupported

SECTOR = 512
MAX_PATH = 511
_FORBIDDEN = (b'"', b"\n", b"\r", b"\0")


@frozen
class Extent:
    """The first ``sectors`` of 512 bytes of a file."""

    path: Path
    sectors: int


def descriptor(extents: Iterable[Extent]) -> bytes:
    """The descriptor that joins ``extents``, read-only by use.

    Raises:
        Unsupported: a path that cannot be written in a descriptor.
    """
    lines = [
        b"# Disk DescriptorFile",
        b"version=1",
        b"CID=fffffffe",
        b"parentCID=ffffffff",
        b'createType="monolithicFlat"',
    ]
    lines += [
        b'RW %d FLAT "%s" 0' % (extent.sectors, _path(extent.path)) for extent in extents if extent.sectors
    ]
    return b"\n".join([*lines, b""])


def _path(path: Path) -> bytes:
    text = os.fsencode(path)
    if not path.is_absolute() or len(text) > MAX_PATH or any(mark in text for mark in _FORBIDDEN):
        raise Unsupported(
            f"{str(path)!r} cannot stand in a VMDK descriptor",
            hint=f"keep monocore's home at an absolute path of less than {MAX_PATH} bytes without quotes and newlines",
        )
    return text
