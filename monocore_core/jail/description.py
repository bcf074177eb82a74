"""What a jail is, as a value, and the words that tell the launcher. Pure."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path

from attrs import evolve, field, frozen

from monocore_core.jail.seccomp import Calls
from monocore_core.model.security import Layer


class Namespaces(IntFlag):
    """``CLONE_NEW*`` of ``linux/sched.h``."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PROCESSES = 0x20000000
    NETWORK = 0x40000000


@frozen
class Identity:
    """Who a program becomes; only root can.

    Attributes:
        uid: of a sandbox alone.
        gid: likewise.
        groups: that it is in besides: the one of ``/dev/kvm``.
        lock: descriptor that marks the ids as taken for as long as anybody, the program included, has it open.
    """

    uid: int
    gid: int
    lock: int
    groups: tuple[int, ...] = ()


def default_limits() -> Mapping[int, int]:
    """Of every jail.

    A core dump would be the guest's memory. The limit of one byte also keeps it from a program to which the kernel would pipe it, which a
    limit of zero does not: core(5).
    """
    return {
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_MEMLOCK: 65536,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }


@frozen
class SharedFolder:
    """A folder or file of the host that a jail's program serves to a guest. No link on the way to it is followed.

    Attributes:
        source: on the host.
        target: in the jail.
        readonly: whether nothing is written there, which the kernel sees to.
        hidden: folders below the target that are empty in the jail.
    """

    source: Path
    target: Path
    readonly: bool
    hidden: tuple[Path, ...] = ()


@frozen
class Jail:
    """A jail for one process.

    Attributes:
        namespaces: that are its own; MOUNT and PROCESSES come together.
        stage: an empty folder, or one that nobody needs to see: its root is mounted there, where no other process sees it.
        identity: who it becomes; None: it stays who we are.
        shown: files and folders of the host that it reads and executes, under the same names.
        placed: the same under other names: on the host, and in the jail.
        links: symbolic links, by name; what they say.
        folders: that are empty.
        shared: folders of others that it serves.
        devices: that it opens, for writing too.
        calls: that it makes; None: any.
        limits: by resource, ``RLIMIT_*``.
        capabilities: by number, that it keeps.
        connects: whether it makes and takes TCP connections.
        tap: descriptor whose place a tap takes that leads nowhere.
        badness: to the OOM killer, from 0 to 1000.
        own_processes: where it sees its own process, as ``/proc`` shows it.
        root_inside: whether it is root in a user namespace of its own: no other id is known there.
        join: path of a user namespace of ours that it enters first.
        landlock: whether it is used where the kernel has it; a program that mounts cannot be under it.
        divisible: whether something of it is of use where no namespaces can be made.
        excused: layers that it cannot have by its nature, whatever is required of machines.
    """

    namespaces: Namespaces
    stage: Path
    calls: Calls | None
    identity: Identity | None = None
    shown: tuple[Path, ...] = ()
    placed: tuple[tuple[Path, Path], ...] = ()
    links: Mapping[Path, str] = field(factory=dict[Path, str])
    folders: tuple[Path, ...] = ()
    shared: tuple[SharedFolder, ...] = ()
    devices: tuple[Path, ...] = ()
    limits: Mapping[int, int] = field(factory=default_limits)
    capabilities: frozenset[int] = frozenset()
    connects: bool = False
    tap: int | None = None
    badness: int = 300
    own_processes: Path = Path("/proc")
    root_inside: bool = False
    join: Path | None = None
    landlock: bool = True
    divisible: bool = True
    excused: frozenset[Layer] = frozenset()

    @property
    def rooted(self) -> bool:
        """Whether it has a root of its own."""
        return Namespaces.MOUNT in self.namespaces

    def without_namespaces(self) -> Jail:
        """What is left where none can be made: the host's files, of which Landlock hides the others."""
        return evolve(self, namespaces=Namespaces(0), identity=None, tap=None)

    def layers(self, *, landlock: bool, seccomp: bool = True) -> frozenset[Layer]:
        """Which confine it.

        Args:
            landlock: whether the kernel has it.
            seccomp: whether the machine's calls are known.
        """
        known = {Layer.CAPABILITIES, Layer.LIMITS}
        if self.identity is not None or self.join is not None or Namespaces.USER in self.namespaces:
            known.add(Layer.USER)
        if Namespaces.MOUNT in self.namespaces:
            known.add(Layer.FILES)
        if Namespaces.PROCESSES in self.namespaces:
            known.add(Layer.PROCESSES)
        if Namespaces.NETWORK in self.namespaces:
            known.add(Layer.NETWORK)
        if Namespaces.IPC in self.namespaces:
            known.add(Layer.IPC)
        if seccomp:
            known.add(Layer.SECCOMP)
        if landlock:
            known.add(Layer.LANDLOCK)
        return frozenset(known)


def words(
    jail: Jail, *, report: int, filtered: int | None, keep: tuple[int, ...], parent: int | None
) -> list[str]:
    """The launcher's options for a jail; the program and its arguments follow.

    Args:
        jail: to make.
        report: descriptor for the launcher's words.
        filtered: descriptor of the seccomp program.
        keep: descriptors that the program has.
        parent: process to die with.
    """
    told = ["--report", str(report), "--namespaces", str(int(jail.namespaces))]
    told += ["--landlock"] if jail.landlock else []
    told += ["--oom", str(jail.badness)]
    if parent is not None:
        told += ["--parent", str(parent)]
    if filtered is not None:
        told += ["--seccomp", str(filtered)]
    if jail.join is not None:
        told += ["--join", os.fspath(jail.join)]
    return [*told, *_seen(jail), *_rights(jail, keep)]


def _seen(jail: Jail) -> list[str]:
    told: list[str] = []
    if jail.rooted:
        told += ["--root", os.fspath(jail.stage), "--proc", os.fspath(jail.own_processes)]
        for folder in jail.folders:
            told += ["--folder", os.fspath(folder)]
        for target, source in jail.links.items():
            told += ["--link", source, os.fspath(target)]
    for path in jail.shown:
        told += ["--show", os.fspath(path), os.fspath(path)]
    for place, name in jail.placed:
        told += ["--show", os.fspath(place), os.fspath(name)]
    for device in jail.devices:
        told += ["--device", os.fspath(device)]
    for share in jail.shared:
        word = "--share-read" if share.readonly else "--share"
        told += [word, os.fspath(share.source), os.fspath(share.target)]
        for path in share.hidden:
            told += ["--cover", os.fspath(path)]
    return told


def _rights(jail: Jail, keep: tuple[int, ...]) -> list[str]:
    told: list[str] = ["--root-inside"] if jail.root_inside else []
    if jail.identity is not None:
        told += ["--identity", str(jail.identity.uid), str(jail.identity.gid)]
        for group in jail.identity.groups:
            told += ["--group", str(group)]
        keep = (*keep, jail.identity.lock)
    if jail.capabilities:
        told += ["--capabilities", hex(sum(1 << number for number in jail.capabilities))]
    for kind, value in jail.limits.items():
        told += ["--limit", str(kind), str(value)]
    if jail.connects:
        told.append("--connects")
    if jail.tap is not None:
        told += ["--tap", str(jail.tap)]
    for number in keep:
        told += ["--keep", str(number)]
    return told
