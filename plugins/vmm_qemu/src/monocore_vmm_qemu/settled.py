"""Settled templates: a copy that was set up for the sandboxes of one image, and captured before it was anybody's.

A copy of a template still has its root mounted, layer upon layer; a copy of this one has only to be told who it is, and its network, whose device led nowhere
so far. It holds what its agent has
read of the image, so it serves that image's role alone, and only while the image's files are the ones that it was set up with. It is
kept in sealed memory, by the process that made it, and goes with that.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from attrs import define, field, frozen

from monocore_core.model.machine import Disk, MachineSpec
from monocore_vmm_qemu.image import Captured
from monocore_vmm_qemu.swap import Look, looks, shared

#: How many are kept.
_KEPT = 4
_Key = tuple[str, str]
Files = tuple[tuple[Disk, tuple[Look, ...]], ...]


def unsettled(spec: MachineSpec) -> str | None:
    """Why a machine cannot be set up before it is asked for, or None. Pure."""
    own = [disk.name for disk in spec.disks if not shared(disk)]
    if own:
        return f"disk {own[0]} is its own"
    return None if spec.role else "nothing is known of what its guest is set up as"


def name_of(shape: str, role: str) -> str:
    """For the files of the machine that is captured. Pure."""
    return f"{shape}-{hashlib.sha256(role.encode()).hexdigest()[:16]}"


def files_of(spec: MachineSpec) -> Files:
    """The disks of a machine, and by what their files are told from others of the same name."""
    return tuple((disk, looks(disk)) for disk in spec.disks)


@frozen(eq=False)
class _Kept:
    captured: Captured
    files: Files


@define(eq=False)
class SettledTemplates:
    """Those of one backend, by the shape of their template and their role."""

    _kept: OrderedDict[_Key, _Kept] = field(init=False, factory=OrderedDict[_Key, _Kept])

    def find(self, shape: str, spec: MachineSpec) -> Captured | None:
        """The one of which a machine can be a copy, to be closed. One whose image's files are others now is let go."""
        key = (shape, spec.role)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if not self.has(shape, spec):
            self.drop(shape, spec.role)
            return None
        self._kept.move_to_end(key)
        return kept.captured.duplicate()

    def has(self, shape: str, spec: MachineSpec) -> bool:
        """Whether there is one."""
        kept = self._kept.get((shape, spec.role))
        return kept is not None and kept.files == files_of(spec)

    def keep(self, shape: str, role: str, captured: Captured, files: Files) -> None:
        """Have it, in place of the one that was not used for longest.

        Args:
            shape: of the template that it was a copy of.
            role: of the machines that it serves.
            captured: it.
            files: as they were before it was set up with them.
        """
        self.drop(shape, role)
        self._kept[shape, role] = _Kept(captured, files)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)[1].captured.close()

    def drop(self, shape: str, role: str) -> None:
        """Let one go. An unknown one is not an error."""
        kept = self._kept.pop((shape, role), None)
        if kept is not None:
            kept.captured.close()

    def close(self) -> None:
        """Let all go; machines that run keep what they have. A repeat does nothing."""
        while self._kept:
            self._kept.popitem()[1].captured.close()
