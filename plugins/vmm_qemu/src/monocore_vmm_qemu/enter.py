"""Run as a program: put host folders together in a mount namespace of its own, and become what serves them.

``python -I -S enter.py REQUEST PROGRAM ARGUMENT…``, where ``REQUEST`` is JSON: ``{"stage": folder, "shares": [{"tag": …, "path": …,
"readonly": …, "hidden": [path below it, …]}]}``. Each share is bound at ``stage/tag`` on a tmpfs that only this namespace has, so that nothing
is ever left mounted on the host, and read-only is enforced by the kernel, whatever the program does or a guest talks it into. A
file is bound as ``stage/tag/file``. Paths are opened without following any symbolic link: they were resolved, and judged, before.

An ordinary user gets a user namespace in which they are root; files of other users appear as nobody's there. Their supplementary
groups cannot be given up there, which QEMU's virtiofsd insists on: it is told that it has.

This file imports no other of ours: it starts in milliseconds, in one thread, as unshare(2) of a user namespace demands.
See mount_namespaces(7), mount_setattr(2), openat2(2), seccomp(2).
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442
AT_FDCWD = -100
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
#: By machine: ``AUDIT_ARCH_*`` of linux/audit.h, and the number of setgroups(2).
SETGROUPS = {"x86_64": (0xC000003E, 116), "aarch64": (0xC00000B7, 159)}
#: Of classic BPF: load a word of ``struct seccomp_data``, jump if equal, return.
BPF_LOAD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
#: Status with which we end when the folders could not be put together; the reason is on standard error.
FAILED = 71

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    """``struct mount_attr`` of linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _Filter(ctypes.Structure):
    """``struct sock_filter`` of linux/filter.h."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    """Leave namespaces behind; the system call."""
    _check(_LIBC.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """The system call."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    options = None if data is None else data.encode()
    _check(_LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), options), f"mount on {target}")


def open_resolved(path: str) -> int:
    """An ``O_PATH`` descriptor of ``path``, in which no symbolic link may stand, at the end neither."""
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    result = _LIBC.syscall(
        ctypes.c_long(SYS_OPENAT2),
        ctypes.c_int(AT_FDCWD),
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return int(_check(result, path))


def restrict(target: str, attributes: int) -> None:
    """Set mount attributes on a mount and everything below it."""
    attr = _MountAttr(attributes, 0, 0, 0)
    result = _LIBC.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(AT_RECURSIVE),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    _check(result, f"restrict the mount {target}")


def become_root() -> None:
    """Enter a user namespace whose root we are."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - pathlib costs a third of our start
            file.write(text)


def keep_groups() -> None:
    """Let setgroups(2) do nothing, successfully, for us and what we become.

    The kernel forbids it in the user namespace that an ordinary user makes, and QEMU's virtiofsd ends when it fails. The groups stay
    those of the user, who may reach the same files with them anyway.
    """
    machine = os.uname().machine
    if machine not in SETGROUPS:
        return
    architecture, number = SETGROUPS[machine]
    steps = (
        _Filter(BPF_LOAD, 0, 0, 4),  # the architecture of the call
        _Filter(BPF_JUMP_EQUAL, 0, 3, architecture),
        _Filter(BPF_LOAD, 0, 0, 0),  # its number
        _Filter(BPF_JUMP_EQUAL, 0, 1, number),
        _Filter(BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO),  # with the error 0: success
        _Filter(BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = _Program(len(steps), (_Filter * len(steps))(*steps))
    zero = ctypes.c_ulong(0)
    _check(_LIBC.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero), "no new privileges")
    _check(
        _LIBC.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program), zero, zero),
        "seccomp filter",
    )


def bind(path: str, target: str, hidden: list[str], *, readonly: bool) -> None:
    """Show a folder, or a file as ``file`` in a folder, at ``target``; what is ``hidden`` below it is an empty folder."""
    os.mkdir(target, 0o755)  # noqa: PTH102
    opened = open_resolved(path)
    if not stat.S_ISDIR(os.fstat(opened).st_mode):
        target = f"{target}/file"
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    mount(f"/proc/self/fd/{opened}", target, None, MS_BIND | MS_REC)
    os.close(opened)
    for below in hidden:
        cover = open_resolved(target + below.removeprefix(path.rstrip("/")))
        mount("hidden", f"/proc/self/fd/{cover}", "tmpfs", MS_RDONLY, "mode=0,size=4k")
        os.close(cover)
    restrict(target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if readonly else 0))


def main(words: list[str]) -> int:
    """Do what the module's docstring says. Comes back only when it failed."""
    request, program, *arguments = words
    asked = json.loads(request)
    try:
        rooted = os.geteuid() == 0
        if rooted:
            unshare(CLONE_NEWNS)
        else:
            become_root()
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        stage = asked["stage"]
        mount("shares", stage, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m")
        for share in asked["shares"]:
            bind(share["path"], f"{stage}/{share['tag']}", share["hidden"], readonly=share["readonly"])
        if not rooted:
            keep_groups()
        os.execv(program, [program, *arguments])  # noqa: S606 - that is the purpose
    except OSError as error:
        sys.stderr.write(f"{error.filename or program}: {error.strerror}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
