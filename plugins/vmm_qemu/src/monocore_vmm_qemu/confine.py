"""The jail of a QEMU: what it is shown of the host, and which system calls it makes. Looks at a few names; changes nothing.

The list of calls was made by tracing QEMU 7.2 through this backend's tests, and holds besides what its libraries may use instead on other hosts
(other wait calls, newer C libraries). ``-sandbox`` of QEMU's own takes more away once it has started: what executes above all.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

from attrs import evolve

from monocore_core.jail import Calls, Condition, Identity, Jail, Namespaces, libraries, outermost
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import UserMode
from monocore_core.model.rootfs import DiskFormat

_CLONE_THREAD = 0x00010000
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_NAMES: Final = """
accept4 access arch_prctl brk clock_getres clock_gettime clock_nanosleep close dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
epoll_pwait2 epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fcntl fdatasync flock fstat fstatfs
fsync ftruncate futex futex_wait futex_waitv futex_wake get_mempolicy getcwd getdents64 getegid geteuid getgid getpeername getpid getppid
getpriority getrandom getresgid getresuid getrlimit getrusage getsockname getsockopt gettid gettimeofday getuid io_cancel io_destroy
io_getevents io_setup io_submit ioctl listen lseek lstat madvise mbind membarrier memfd_create mincore mlock mlock2 mmap mprotect mremap msync
munlock munmap nanosleep newfstatat open openat pause pipe pipe2 poll ppoll prctl pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev
pwritev2 read readlink readlinkat readv recvfrom recvmmsg recvmsg restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn
rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler
sched_setaffinity sched_yield seccomp select sendmmsg sendmsg sendto set_mempolicy set_robust_list set_tid_address setsockopt shutdown
sigaltstack signalfd4 stat statfs statx sync_file_range sysinfo tgkill time timer_create timer_delete timer_getoverrun timer_gettime
timer_settime timerfd_create timerfd_gettime timerfd_settime times uname write writev
"""
#: What QEMU asks of the kernel with disks, memory and taps that it was handed.
CALLS: Final = Calls(
    allowed=frozenset(_NAMES.split()),
    conditions=(
        Condition("clone", 0, _CLONE_THREAD, (_CLONE_THREAD,)),
        Condition("socketpair", 0, 0xFFFFFFFF, (_AF_UNIX,)),  # with what serves folders
    ),
    failing={
        "clone3": errno.ENOSYS,  # its flags are out of a filter's sight; the C library takes clone then
        "io_uring_setup": errno.ENOSYS,  # tried once, and epoll taken instead
        "map_shadow_stack": errno.ENOSYS,
        "mseal": errno.ENOSYS,
        "socket": errno.EPERM,
        "unlink": errno.EACCES,  # of its sockets, which are ours
        "unlinkat": errno.EACCES,
    },
)
#: What its user-mode network does besides.
_SOCKETS: Final = (
    {"bind", "connect", "accept"},
    (Condition("socket", 0, 0xFFFFFFFF, (_AF_INET, _AF_INET6)),),
)
_CAP_NET_BIND_SERVICE = 10
_PRIVILEGED_PORTS = 1024
_KVM = Path("/dev/kvm")
_GROUP, _EVERYBODY = stat.S_IRGRP | stat.S_IWGRP, stat.S_IROTH | stat.S_IWOTH
_DEVICES = (Path("/dev/null"), Path("/dev/urandom"))
#: Firmware and tables, below the prefix of the program.
DATA = ("share/qemu", "share/seabios", "lib/ipxe/qemu")


def jail_of(spec: MachineSpec, binary: Path, kernel: Path, identity: Identity | None, *, kvm: bool) -> Jail:
    """The jail of a machine's QEMU.

    Args:
        spec: of the machine.
        binary: QEMU, resolved.
        kernel: for ``-kernel``.
        identity: its own; None for an ordinary user, whose namespace shows no other.
        kvm: whether it uses it.
    """
    shown, links = libraries(binary, data=DATA)
    backing = (file for disk in spec.disks if disk.format is DiskFormat.QCOW2 for file in disk.files)
    namespaces = (
        Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.IPC | Namespaces.UTS | Namespaces.NETWORK
    )
    if identity is None:
        namespaces |= Namespaces.USER
    jail = Jail(
        namespaces=namespaces,
        stage=spec.directory,
        calls=CALLS,
        identity=identity,
        shown=outermost((*shown, binary, kernel, *backing)),
        links=links,
        devices=(*_DEVICES, _KVM) if kvm else _DEVICES,
    )
    return _with_sockets(jail, spec.attachment) if isinstance(spec.attachment, UserMode) else jail


def kvm_groups(device: Path = _KVM) -> tuple[int, ...] | None:
    """The groups that one must be in to open KVM; None where only root may, as on a host whose udev has no rule for it."""
    try:
        found = device.stat()
    except OSError:
        return ()
    if found.st_mode & _EVERYBODY == _EVERYBODY:
        return ()
    return (found.st_gid,) if found.st_mode & _GROUP == _GROUP and found.st_gid else None


def _with_sockets(jail: Jail, attachment: UserMode) -> Jail:
    """The VMM is the network: it has the host's, with Internet sockets, and knows its name servers."""
    low = any(0 < outer < _PRIVILEGED_PORTS for _, _, outer, _ in attachment.forwards)
    servers = Path("/etc/resolv.conf")
    return evolve(
        jail,
        namespaces=jail.namespaces & ~Namespaces.NETWORK,
        calls=CALLS.and_also(*_SOCKETS),
        connects=True,
        shown=(*jail.shown, servers) if servers.exists() else jail.shown,
        capabilities=frozenset({_CAP_NET_BIND_SERVICE}) if low and jail.identity is not None else frozenset(),
    )
