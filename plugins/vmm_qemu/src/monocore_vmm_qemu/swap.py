"""Give a copy that waits its own disks, in place of the empty files that it was started with.

A device of ``virtio-mmio`` can neither be plugged in nor be pointed to another node. But the node that it has, of the format ``raw``, can be
opened anew with another node below it (``blockdev-reopen``, QEMU 6.1 and later): the device keeps its node, and the node gets the disk. QEMU opens
no path: every file comes as a descriptor, so this works in a jail as well. Each descriptor takes a turn of QEMU's, and an image has one for
each layer: so what many machines read, and none writes, is laid below a spare before anybody asks, in the hope that the next one reads it, too.
What is not wanted then is taken away before the machine is anybody's: of other images its process holds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from attrs import frozen

from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.rootfs import DiskFormat
from monocore_core.vmmkit.jsontext import Json
from monocore_core.vmmkit.qmp import Qmp
from monocore_vmm_qemu.command import Facts, block_node, block_nodes
from monocore_vmm_qemu.descriptors import Sets

#: Sets up to the first number may be in use since QEMU's start, and up to the second by disks that were laid.
_LAID_SET, _OWN_SET = 64, 1024
Look = tuple[int, int, int, int]


@frozen
class Laid:
    """A disk that lies below a device before anybody has asked for it.

    Attributes:
        disk: that it is.
        looks: of its files when it was opened.
        node: its name in QEMU.
        sets: of its descriptors.
    """

    disk: Disk
    looks: tuple[Look, ...]
    node: str
    sets: frozenset[int]

    def serves(self, disk: Disk) -> bool:
        """Whether it is ``disk``, with the files that are there now."""
        return self.disk == disk and self.looks == looks(disk)


def unswappable(spec: MachineSpec) -> str | None:
    """Why a machine cannot get its disks that late, or None. Pure."""
    for disk in spec.disks:
        if disk.format is DiskFormat.QCOW2 and disk.files:
            return f"disk {disk.name} has backing files, which are opened by name"
    return None


def shared(disk: Disk) -> bool:
    """Whether machines have a disk in common, which none of them writes. Pure."""
    return disk.readonly and not disk.limits


def laid_for(spec: MachineSpec, laid: Mapping[int, Laid]) -> bool:
    """Whether every disk of a machine lies below its device already."""
    return all(slot in laid and laid[slot].serves(disk) for slot, disk in _slots(spec))


async def lay(qmp: Qmp, spec: MachineSpec, facts: Facts) -> dict[int, Laid]:
    """Put those disks of ``spec`` below the nodes of a stopped machine that machines have in common, where they are still there; by their slots.

    Raises:
        MachineError: one cannot be opened, or QEMU refused; then the machine is of no more use.
    """
    found = {slot: looks(disk) for slot, disk in _slots(spec) if shared(disk)}
    wanted = {slot: disk for slot, disk in _slots(spec) if len(found.get(slot, ())) == 1 + len(disk.files)}
    given = await _put(qmp, wanted, facts, "laid", _LAID_SET)
    return {slot: Laid(disk, found[slot], f"laid{slot}", given[slot]) for slot, disk in wanted.items()}


async def swap(qmp: Qmp, spec: MachineSpec, facts: Facts, laid: Mapping[int, Laid]) -> frozenset[int]:
    """Put the disks of ``spec`` below the nodes of a stopped machine of the same shape, in place of what lies there of others.

    Returns:
        Sets with descriptors of others', for :func:`give_back`.

    Raises:
        MachineError: a disk cannot be opened, or QEMU refused.
    """
    there = {slot for slot, disk in _slots(spec) if slot in laid and laid[slot].serves(disk)}
    await _put(qmp, {slot: disk for slot, disk in _slots(spec) if slot not in there}, facts, "own", _OWN_SET)
    others = [other for slot, other in laid.items() if slot not in there]
    for other in others:
        await qmp.execute("blockdev-del", {"node-name": other.node})
    return frozenset(number for other in others for number in other.sets)


async def give_back(qmp: Qmp, sets: frozenset[int]) -> None:
    """Close descriptors that are not used any more. Of a machine that runs: in one that is stopped QEMU keeps them.

    Raises:
        MachineError: QEMU refused.
    """
    for number in sets:
        await qmp.execute("remove-fd", {"fdset-id": number})


def _slots(spec: MachineSpec) -> Iterable[tuple[int, Disk]]:
    return enumerate(spec.disks, start=1)


def looks(disk: Disk) -> tuple[Look, ...]:
    """By which another file under the same name is told; of one that is gone there is none."""
    found: list[Look] = []
    for path in (disk.path, *disk.files):
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            continue
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


async def _put(
    qmp: Qmp, disks: Mapping[int, Disk], facts: Facts, prefix: str, first: int
) -> dict[int, frozenset[int]]:
    """Open disks and put each below the node of its slot; gives the sets of each one's descriptors."""
    given: dict[int, frozenset[int]] = {}
    with ExitStack() as stack:
        sets = Sets(stack, count=first)
        paths: dict[int, str] = {}
        for slot, disk in disks.items():
            before = len(sets.pairs)
            paths[slot] = sets.disk(disk)
            given[slot] = frozenset(number for _, number in sets.pairs[before:])
        for descriptor, number in sets.pairs:
            await qmp.add_to_set(number, descriptor)
        for slot, disk in disks.items():
            objects, nodes = block_nodes(disk, f"{prefix}{slot}", paths[slot], facts)
            for one in objects:
                await qmp.execute("object-add", one)
            for one in nodes:
                await qmp.execute("blockdev-add", one)
            node = above(slot, disk, facts, f"{prefix}{slot}")
            await qmp.execute("blockdev-reopen", {"options": [node]})
    return given


def above(slot: int, disk: Disk, facts: Facts, below: str) -> dict[str, Json]:
    """The node that the device has, over the one that was added. Pure."""
    node = block_node(Disk(disk.name, disk.path, readonly=disk.readonly), f"disk{slot}", "", facts)
    node["file"] = below
    return node
