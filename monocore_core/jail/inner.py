"""Confine the process that calls: for a VMM that is a library, which takes a process of ours over, so that no launcher can execute it in a jail.

It gives up what is not its own: capabilities, every file but those that it is shown (a root of bind mounts, and Landlock), the host's network and System V
objects, calls of the kernel, and what its limits say; see unshare(2), pivot_root(2), landlock(7), seccomp(2). What it cannot have is a process namespace, which is for children only, and
as root an id of its own. Call it in a process of one thread; threads and processes that it starts later are confined, too. Linux alone.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from monocore_core.jail.description import Namespaces, default_limits
from monocore_core.jail.seccomp import Calls, compile_filter
from monocore_core.jail.syscalls import NUMBERS
from monocore_core.model.security import Layer

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 38, 47, 4
_CAPABILITY_VERSION: Final = 0x20080522
_CAPABILITIES: Final = 64
#: Numbers of calls, the same on every architecture: make a ruleset, add a rule, restrict oneself.
_MAKE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_WANTED, _PATH_BENEATH = 1, 1
#: ``LANDLOCK_ACCESS_FS_*`` of ``linux/landlock.h``.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_DEVICE_NODES: Final = 1 << 6 | 1 << 11
_FIRST: Final = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_TCP, _SCOPES = 3, 3
#: ``MS_*`` and ``MNT_DETACH`` of mount(2) and umount2(2).
_READ_ONLY, _NO_SUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE, _DETACH = (
    1, 2, 4, 32, 4096, 16384, 1 << 18, 2,
)  # fmt: skip
#: Flags of a mount that a user namespace must not take away; statvfs(3) has them as mount(2) does.
_HELD: Final = 1 | 2 | 4 | 8 | 1024 | 2048
#: A folder that every host has, and of which nothing is kept: there its root is mounted, where no other process sees it.
_STAGE: Final = b"/sys"
_LAYERS: Final = {
    Namespaces.USER: Layer.USER,
    Namespaces.MOUNT: Layer.FILES,
    Namespaces.NETWORK: Layer.NETWORK,
    Namespaces.IPC: Layer.IPC,
}
#: ``SECCOMP_SET_MODE_FILTER``, ``SECCOMP_FILTER_FLAG_LOG`` (the host's audit log learns which call it was), bytes of ``struct sock_filter``.
_SET_FILTER, _LOG, _STEP = 1, 2, 8
_COLUMN: Final = {"x86_64": 0, "aarch64": 1}


@frozen
class Confinement:
    """What a process keeps.

    Attributes:
        shown: files and folders that it reads and executes.
        written: files that it reads and writes.
        folders: in which it does everything but make devices.
        devices: that it opens, for writing too.
        capabilities: by number.
        namespaces: that are its own, where they can be made; without USER only root can. MOUNT is a root with what it keeps and nothing else.
        limits: by resource, ``RLIMIT_*``.
        connects: whether it makes and takes TCP connections.
        badness: to the OOM killer, from 0 to 1000.
        calls: that it makes from then on; None: any.
    """

    shown: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    capabilities: frozenset[int] = frozenset()
    namespaces: Namespaces = field(factory=lambda: Namespaces(0))
    limits: Mapping[int, int] = field(factory=default_limits)
    connects: bool = False
    badness: int = 300
    calls: Calls | None = None


def confine(what: Confinement) -> frozenset[Layer]:
    """Give up everything else, for good; gives the layers that this process is in from now on.

    A kernel without Landlock, or where it is switched off, is no error: the layer is missing then.

    Raises:
        OSError: something else was refused, or what is to be shown is not there. What was given up already stays so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    layers = {Layer.CAPABILITIES, Layer.LIMITS}
    Path("/proc/self/oom_score_adj").write_text(str(what.badness))
    for number, most in what.limits.items():
        hard = resource.getrlimit(number)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (least, least))
    layers |= _leave(libc, what)
    ruleset = _ruleset(libc, what)
    _keep(libc, what.capabilities)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce privileges")
    if ruleset is not None:
        _checked(libc.syscall(_RESTRICT, ruleset, 0), "restrict itself")
        os.close(ruleset)
        layers.add(Layer.LANDLOCK)
    if what.calls is not None and _filter(libc, what.calls):
        layers.add(Layer.SECCOMP)
    return frozenset(layers)


def _filter(libc: ctypes.CDLL, calls: Calls) -> bool:
    """Have any other call kill the process; whether the kernel, and we, know how."""
    machine = os.uname().machine
    program = compile_filter(calls, machine)
    if program is None:
        return False
    steps = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // _STEP, ctypes.addressof(steps))
    return int(libc.syscall(NUMBERS["seccomp"][_COLUMN[machine]], _SET_FILTER, _LOG, head)) == 0


def _leave(libc: ctypes.CDLL, what: Confinement) -> set[Layer]:
    """Have namespaces of one's own, and a root; nothing of that where the host gives none, or no use of them."""
    if not what.namespaces or (Namespaces.USER in what.namespaces and not _can_leave(libc, what)):
        return set()
    return _left(libc, what)


def _can_leave(libc: ctypes.CDLL, what: Confinement) -> bool:
    """Try it in a child: there are hosts that give anybody a user namespace, and nothing to do in it (AppArmor's ``userns`` rules)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if _left(libc, what) else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _left(libc: ctypes.CDLL, what: Confinement) -> set[Layer]:
    user, group, here = os.geteuid(), os.getegid(), Path.cwd()
    if libc.unshare(int(what.namespaces)) < 0:
        return set()
    layers = {_LAYERS[one] for one in _LAYERS if one in what.namespaces}
    if Namespaces.USER in what.namespaces:  # of our own id alone
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    if Namespaces.UTS in what.namespaces:
        socket.sethostname("localhost")
    if Namespaces.MOUNT in what.namespaces:
        _enter_root(libc, what)
        os.chdir(here)
    return layers


def _enter_root(libc: ctypes.CDLL, what: Confinement) -> None:
    """Have a root with nothing in it but what is kept, under the names that it has on the host."""
    kept = dict.fromkeys(what.shown, _READ_ONLY | _NO_DEVICES)
    kept |= dict.fromkeys((*what.written, *what.folders), _NO_DEVICES)
    kept |= dict.fromkeys(what.devices, 0)
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in kept}
    _mount(libc, b"none", b"/", _RECURSIVE | _PRIVATE)
    _mount(libc, b"root", _STAGE, _NO_SUID | _NO_DEVICES, kind=b"tmpfs", data=b"mode=755,size=1m")
    for path in sorted(kept):
        target = Path(os.fsdecode(_STAGE) + str(path))
        if target.exists():  # within another that is kept
            pass
        elif path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        source = b"/proc/self/fd/%d" % opened[path]
        held = os.statvfs(source).f_flag & _HELD
        _mount(libc, source, os.fsencode(target), _BIND | _RECURSIVE)
        _mount(libc, b"none", os.fsencode(target), _BIND | _REMOUNT | _NO_SUID | held | kept[path])
        os.close(opened[path])
    os.chdir(_STAGE)
    _checked(libc.syscall(NUMBERS["pivot_root"][_COLUMN[os.uname().machine]], b".", b"."), "enter its root")
    _checked(libc.umount2(b".", _DETACH), "leave the host's root")
    _mount(libc, b"none", b"/", _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)


def _mount(
    libc: ctypes.CDLL, source: bytes, target: bytes, flags: int, *, kind: bytes = b"none", data: bytes = b""
) -> None:
    _checked(libc.mount(source, target, kind, ctypes.c_ulong(flags), data), f"mount {os.fsdecode(target)}")


def _keep(libc: ctypes.CDLL, capabilities: frozenset[int]) -> None:
    """No capability but these, none to be gained by executing."""
    for number in range(_CAPABILITIES):
        if number not in capabilities:
            libc.prctl(
                _PR_CAPBSET_DROP, number, 0, 0, 0
            )  # refused to who has none to drop, or where there is no such one
    low, high = (sum(1 << number % 32 for number in capabilities if number // 32 == half) for half in (0, 1))
    head = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if os.geteuid() == 0:
        _checked(libc.capset(head, data), "set capabilities")
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)


def _ruleset(libc: ctypes.CDLL, what: Confinement) -> int | None:
    """A ruleset of Landlock with everything that the process may open, or None where the kernel has none for it."""
    version = int(libc.syscall(_MAKE, None, 0, _VERSION_WANTED))
    if version < 1 or (version < 2 and what.folders):
        return None
    files, network, scopes = _FIRST, 0, 0
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
        files |= right if version >= since else 0
    asked = [files]
    if version >= 4:
        network = 0 if what.connects else _TCP
        asked.append(network)
    if version >= 6:
        scopes = _SCOPES
        asked.append(scopes)
    attributes = struct.pack(f"={len(asked)}Q", *asked)
    ruleset = int(libc.syscall(_MAKE, attributes, len(attributes), 0))
    _checked(ruleset, "make a ruleset")
    try:
        for paths, rights in (
            (what.shown, _EXECUTE | _READ_FILE | _READ_DIR),
            (what.written, _READ_FILE | _WRITE_FILE | _TRUNCATE),
            (what.devices, _READ_FILE | _WRITE_FILE | _IOCTL_DEVICE),
            (what.folders, files & ~(_DEVICE_NODES | _IOCTL_DEVICE)),
        ):
            for path in paths:
                _allow(libc, ruleset, path, rights & files)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, opened)
        _checked(libc.syscall(_ADD, ruleset, _PATH_BENEATH, rule, 0), f"allow {path}")
    finally:
        os.close(opened)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a process cannot {what}: {os.strerror(number)}")
