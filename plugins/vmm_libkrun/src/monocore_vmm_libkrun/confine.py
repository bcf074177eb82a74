"""What a libkrun's process keeps of the host's files and rights once it is forked (:mod:`monocore_core.jail.inner`), and how the fork server is told. Pure.

The library is loaded and its process forked, so there is no program to execute in a jail: the process gives up everything else itself, before the
first call to libkrun, which parses disks among other things. It keeps the host's process namespace, and root its id.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final, cast

from monocore_core.jail import Calls, Condition, Confinement, Namespaces
from monocore_core.jail.description import default_limits
from monocore_core.model.machine import MachineSpec, Share
from monocore_core.model.network import NoNetwork, Tap
from monocore_core.model.rootfs import DiskFormat
from monocore_vmm_libkrun.library import Libraries
from monocore_vmm_libkrun.messages import Message
from monocore_vmm_libkrun.options import KrunOptions

_KVM, _TUN = Path("/dev/kvm"), Path("/dev/net/tun")
_ALWAYS: Final = (Path("/dev/null"), Path("/dev/urandom"))
#: The distribution's libraries, of which one is loaded late, and its own process.
_SYSTEM: Final = tuple(map(Path, ("/usr/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self")))
#: To act for the users of a guest in a folder that it shares: chown, dac_override, fowner, fsetid, setgid, setuid, setfcap.
_SERVING: Final = frozenset({0, 1, 3, 4, 6, 7, 31})
_NET_ADMIN: Final = 12
_CLONE_THREAD, _CLONE_FS = 0x00010000, 0x00000200
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_S_IFMT, _NO_DEVICES = 0o170000, (0, 0o100000, 0o010000, 0o140000)
_NAMES: Final = """
access arch_prctl brk capget capset clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod
fchmodat fchmodat2 fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_wait
futex_waitv futex_wake get_mempolicy getcwd getdents64 getegid geteuid getgid getgroups getpeername getpid getppid getrandom getresgid
getresuid getrusage getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init1 inotify_rm_watch ioctl lgetxattr linkat listxattr llistxattr lremovexattr lseek
lsetxattr madvise mbind membarrier memfd_create mincore mkdirat mlock mmap mprotect mremap msync munlock munmap name_to_handle_at nanosleep
newfstatat open openat openat2 pipe2 poll ppoll prctl pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read readlink
readlinkat readv recvfrom recvmmsg recvmsg removexattr renameat renameat2 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler
sched_setaffinity sched_yield select sendfile sendmmsg sendmsg sendto set_mempolicy set_robust_list set_tid_address setgroups setresgid setresuid
setsockopt setxattr shutdown sigaltstack signalfd4 splice stat statfs statx symlinkat sync_file_range syncfs sysinfo tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times umask uname unlinkat utimensat
write writev
"""
#: What libkrun, whose imports and direct calls were looked through, asks of the kernel for disks, folders, the console and the agent's socket.
CALLS: Final = Calls(
    allowed=frozenset(_NAMES.split()),
    conditions=(
        Condition("clone", 0, _CLONE_THREAD, (_CLONE_THREAD,)),
        Condition("mknodat", 2, _S_IFMT, _NO_DEVICES),
        Condition("socketpair", 0, 0xFFFFFFFF, (_AF_UNIX,)),
        Condition("unshare", 0, 0xFFFFFFFF, (_CLONE_FS,)),  # of threads that serve folders
    ),
    failing={
        "clone3": errno.ENOSYS,  # its flags are out of a filter's sight; the C library takes clone then
        "io_uring_setup": errno.ENOSYS,
        "map_shadow_stack": errno.ENOSYS,
        "mseal": errno.ENOSYS,
        "userfaultfd": errno.ENOSYS,
    },
)
_LOCAL: Final = (Condition("socket", 0, 0xFFFFFFFF, (_AF_UNIX,)),)
#: With libkrun's own network, or a tap, which is set up through a socket.
_INTERNET: Final = (
    {"accept4", "bind", "listen"},
    (Condition("socket", 0, 0xFFFFFFFF, (_AF_UNIX, _AF_INET, _AF_INET6)),),
)


def confinement_of(
    spec: MachineSpec,
    options: KrunOptions,
    libraries: Libraries,
    shares: tuple[Share, ...],
    *,
    rooted: bool,
) -> Confinement:
    """What the process of a machine keeps. Looks whether a few paths are there.

    Args:
        spec: of the machine.
        options: of the backend.
        libraries: that the fork server has loaded.
        shares: of the machine, files among them replaced by folders.
        rooted: whether it is root.
    """
    namespaces = Namespaces.MOUNT | Namespaces.IPC | Namespaces.UTS
    if not rooted:
        namespaces |= Namespaces.USER
    if isinstance(spec.attachment, NoNetwork) and not options.tsi:
        namespaces |= Namespaces.NETWORK
    loaded = [path.resolve() for path in (libraries.krun, libraries.firmware) if path is not None]
    shown = [spec.boot, spec.directory, *loaded, *_SYSTEM]
    written: list[Path] = []
    for disk in spec.disks:
        (shown if disk.readonly else written).append(disk.path)
        (shown if disk.readonly or disk.format is DiskFormat.QCOW2 else written).extend(disk.files)
    shown += [share.path for share in shares if share.readonly]
    if options.kernel is not None:
        shown.append(options.kernel)
    capabilities = _SERVING if shares and rooted else frozenset[int]()
    if isinstance(spec.attachment, Tap) and rooted:
        capabilities |= {_NET_ADMIN}
    limits = dict(default_limits())
    if shares:  # one descriptor for each file that the guest knows
        del limits[resource.RLIMIT_NOFILE]
    return Confinement(
        shown=_there(shown),
        written=_there(written),
        folders=_there(share.path for share in shares if not share.readonly),
        devices=_there((*_ALWAYS, _KVM, *((_TUN,) if isinstance(spec.attachment, Tap) else ()))),
        capabilities=capabilities,
        namespaces=namespaces,
        limits=limits,
        connects=options.tsi,
        calls=CALLS.and_also(*_INTERNET)
        if options.tsi or isinstance(spec.attachment, Tap)
        else CALLS.and_also((), _LOCAL),
    )


def told(what: Confinement) -> Message:
    """As a message's part. :func:`understood` makes of it what it was."""
    return {
        "shown": list(map(str, what.shown)),
        "written": list(map(str, what.written)),
        "folders": list(map(str, what.folders)),
        "devices": list(map(str, what.devices)),
        "capabilities": sorted(what.capabilities),
        "namespaces": int(what.namespaces),
        "limits": list(map(list, what.limits.items())),
        "connects": what.connects,
        "badness": what.badness,
        "calls": _calls_told(what.calls) if what.calls is not None else None,
    }


def understood(said: Message) -> Confinement:
    """What :func:`told` said, which was ours."""

    def paths(name: str) -> tuple[Path, ...]:
        return tuple(Path(str(word)) for word in cast("list[object]", said[name]))

    return Confinement(
        shown=paths("shown"),
        written=paths("written"),
        folders=paths("folders"),
        devices=paths("devices"),
        capabilities=frozenset(cast("list[int]", said["capabilities"])),
        namespaces=Namespaces(cast("int", said["namespaces"])),
        limits=dict(cast("list[tuple[int, int]]", said["limits"])),
        connects=bool(said["connects"]),
        badness=cast("int", said["badness"]),
        calls=_calls_understood(cast("Message", said["calls"])) if said["calls"] is not None else None,
    )


def _calls_told(calls: Calls) -> Message:
    return {
        "allowed": sorted(calls.allowed),
        "conditions": [[one.call, one.argument, one.mask, *one.values] for one in calls.conditions],
        "failing": dict(calls.failing),
    }


def _calls_understood(said: Message) -> Calls:
    conditions = cast("list[tuple[str, int, int, int]]", said["conditions"])
    return Calls(
        frozenset(cast("list[str]", said["allowed"])),
        tuple(Condition(call, argument, mask, tuple(values)) for call, argument, mask, *values in conditions),
        cast("dict[str, int]", said["failing"]),
    )


def _there(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Without those that this host does not have, each once."""
    return tuple(dict.fromkeys(path for path in paths if path.exists()))
