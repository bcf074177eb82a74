"""Give a copy that waits its own disks, in place of the empty files that it was started with.

A device of ``virtio-mmio`` can neither be plugged in nor be pointed to another node. But the node that it has, of the format ``raw``, can be
opened anew with another node below it (``blockdev-reopen``, QEMU 6.1 and later): the device keeps its node, and the node gets the disk. QEMU opens
no path: every file comes as a descriptor, so this works in a jail as well.
"""

from __future__ import annotations

from contextlib import ExitStack

from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.rootfs import DiskFormat
from monocore_core.vmmkit.jsontext import Json
from monocore_core.vmmkit.qmp import Qmp
from monocore_vmm_qemu.command import Facts, block_node, block_nodes
from monocore_vmm_qemu.descriptors import Sets

#: Sets up to this number may be in use since QEMU's start.
_FIRST_SET = 64


def unswappable(spec: MachineSpec) -> str | None:
    """Why a machine cannot get its disks that late, or None. Pure."""
    for disk in spec.disks:
        if disk.format is DiskFormat.QCOW2 and disk.files:
            return f"disk {disk.name} has backing files, which are opened by name"
    return None


async def swap(qmp: Qmp, spec: MachineSpec, facts: Facts) -> None:
    """Put the disks of ``spec`` below the nodes of a stopped machine of the same shape.

    Raises:
        MachineError: a disk cannot be opened, or QEMU refused.
    """
    with ExitStack() as stack:
        sets = Sets(stack, count=_FIRST_SET)
        paths = [sets.disk(disk) for disk in spec.disks]
        for descriptor, number in sets.pairs:
            await qmp.add_to_set(number, descriptor)
        for slot, (disk, path) in enumerate(zip(spec.disks, paths, strict=True), start=1):
            await _below(qmp, slot, disk, path, facts)


async def _below(qmp: Qmp, slot: int, disk: Disk, path: str, facts: Facts) -> None:
    objects, nodes = block_nodes(disk, f"own{slot}", path, facts)
    for one in objects:
        await qmp.execute("object-add", one)
    for one in nodes:
        await qmp.execute("blockdev-add", one)
    await qmp.execute("blockdev-reopen", {"options": [above(slot, disk, facts)]})


def above(slot: int, disk: Disk, facts: Facts) -> dict[str, Json]:
    """The node that the device has, over the one that was added. Pure."""
    node = block_node(Disk(disk.name, disk.path, readonly=disk.readonly), f"disk{slot}", "", facts)
    node["file"] = f"own{slot}"
    return node
