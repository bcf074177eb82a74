"""Disk files of every format, from the bytes that the guest is to see.

Example::

    disk = write_disk(tmp_path / "root", image, DiskFormat.QCOW2)
"""

from __future__ import annotations

import struct
from pathlib import Path

from attrs import frozen

from monocore_core.model.rootfs import DiskFormat

SECTOR = 512
_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_QCOW2_MAGIC = 0x514649FB
#: The cluster is used by nothing else (qcow2.txt, "Standard Cluster Descriptor").
_COPIED = 1 << 63


@frozen
class DiskFile:
    """A disk on the host: ``path`` names it, ``files`` are all host files behind it (``path`` included)."""

    path: Path
    format: DiskFormat
    files: tuple[Path, ...]


def write_disk(stem: Path, data: bytes, layout: DiskFormat) -> DiskFile:
    """Write a disk whose content is ``data``, filled up with zeros to whole sectors.

    Args:
        stem: path without a suffix.
        data: what the guest reads.
        layout: of the file.
    """
    whole = data + bytes(-len(data) % SECTOR)
    path = stem.with_name(f"{stem.name}.{layout}")
    match layout:
        case DiskFormat.RAW:
            path.write_bytes(whole)
            return DiskFile(path, layout, (path,))
        case DiskFormat.VMDK:
            return _vmdk(path, whole)
        case DiskFormat.QCOW2:
            path.write_bytes(qcow2(whole))
            return DiskFile(path, layout, (path,))


def _vmdk(path: Path, data: bytes) -> DiskFile:
    """Two extents in files of their own, so that a reader has to join them."""
    middle = len(data) // SECTOR // 2 * SECTOR
    parts = [data[:middle], data[middle:]] if middle else [data]
    extents = [path.with_name(f"{path.stem}-{number}.extent") for number in range(len(parts))]
    lines: list[str] = []
    for extent, part in zip(extents, parts, strict=True):
        extent.write_bytes(part)
        lines.append(f'RW {len(part) // SECTOR} FLAT "{extent}" 0')
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        'createType="monolithicFlat"\n' + "\n".join(lines) + "\n"
        'ddb.virtualHWVersion = "4"\nddb.geometry.cylinders = "2"\nddb.geometry.heads = "16"\n'
        'ddb.geometry.sectors = "63"\nddb.adapterType = "ide"\n'
    )
    return DiskFile(path, DiskFormat.VMDK, (path, *extents))


def qcow2(data: bytes) -> bytes:
    """A version 2 image without snapshots, backing file or holes (qemu ``docs/interop/qcow2.txt``).

    Header, one cluster of L1 table, L2 tables, one cluster of refcount table, refcount blocks, data.
    """
    clusters = -(-len(data) // _CLUSTER)
    tables = -(-clusters * 8 // _CLUSTER)
    per_block = _CLUSTER // 2
    blocks = -(-(clusters + tables + 4) // per_block)
    total = 3 + tables + blocks + clusters
    l1, l2 = _CLUSTER, 2 * _CLUSTER
    refcounts = l2 + tables * _CLUSTER
    first_block = refcounts + _CLUSTER
    start = first_block + blocks * _CLUSTER
    header = struct.pack(
        ">IIQIIQIIQQIIQ",
        _QCOW2_MAGIC, 2, 0, 0, _CLUSTER_BITS, len(data), 0, tables, l1, refcounts, 1, 0, 0,
    )  # fmt: skip
    pieces = (
        header,
        b"".join(struct.pack(">Q", _COPIED | l2 + number * _CLUSTER) for number in range(tables)),
        b"".join(struct.pack(">Q", _COPIED | start + number * _CLUSTER) for number in range(clusters)),
        b"".join(struct.pack(">Q", first_block + number * _CLUSTER) for number in range(blocks)),
        struct.pack(">H", 1) * (total),
        data,
    )
    return b"".join(piece + bytes(-len(piece) % _CLUSTER) for piece in pieces)
