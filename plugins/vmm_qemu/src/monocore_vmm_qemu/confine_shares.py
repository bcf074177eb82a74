"""The jail of a virtiofsd: the shared folders, and what the program runs of. Looks at a few names; changes nothing.

It writes with the ids of the guest's users, so as root it stays root, with the capabilities for that and no other; it has no identity of
its own. An ordinary user's is root in a namespace that knows no other id. It makes its root the shared folders (``sandbox=chroot``), gives up the
capability for that, and sets a list of calls of its own, shorter than ours, before it reads a word of the guest.

The list below was made by tracing the one in C (QEMU 7.2), and holds besides what that allows itself (``tools/virtiofsd/passthrough_seccomp.c``). The one
in Rust has its own list alone.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from monocore_core.jail import Calls, Condition, Jail, Namespaces, SharedFolder, libraries, outermost
from monocore_core.jail.description import default_limits
from monocore_core.model.machine import Share
from monocore_core.model.security import Layer
from monocore_vmm_qemu.virtiofsd import Flavour

#: Where the shares are in the jail, by their tags.
SHARES: Final = Path("/shares")
_CLONE_THREAD, _CLONE_FS = 0x00010000, 0x00000200
_S_IFMT, _NO_DEVICES = 0o170000, (0, 0o100000, 0o010000, 0o140000)
_NAMES: Final = """
accept accept4 access arch_prctl brk capget capset chdir chroot clock_getres clock_gettime clock_nanosleep close copy_file_range dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync
ftruncate futex futex_waitv get_mempolicy getcwd getdents getdents64 getegid geteuid getgid getgroups getpid getppid getrandom getsockname
getsockopt gettid gettimeofday getuid getxattr ioctl linkat listxattr lseek madvise mbind membarrier mkdirat mmap mprotect mremap munmap
name_to_handle_at nanosleep newfstatat open openat openat2 pipe2 poll ppoll prctl pread64 preadv preadv2 prlimit64 pwrite64 pwritev pwritev2 read
readlink readlinkat readv recvfrom recvmsg removexattr renameat renameat2 restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn
sched_getaffinity sched_getattr sched_setattr sched_yield seccomp sendmsg sendto set_mempolicy set_robust_list set_tid_address setgroups
setresgid setresuid setsockopt setxattr shutdown sigaltstack stat statfs statx symlinkat sync_file_range syncfs sysinfo tgkill time umask uname
unlinkat utimensat write writev
"""
CALLS: Final = Calls(
    allowed=frozenset(_NAMES.split()),
    conditions=(
        Condition("clone", 0, _CLONE_THREAD, (_CLONE_THREAD,)),
        Condition("unshare", 0, 0xFFFFFFFF, (_CLONE_FS,)),  # so that each thread has a folder of its own
        Condition("mknodat", 2, _S_IFMT, _NO_DEVICES),
    ),
    failing={
        "clone3": errno.ENOSYS,  # its flags are out of a filter's sight; the C library takes clone then
        "io_uring_setup": errno.ENOSYS,
        "map_shadow_stack": errno.ENOSYS,
        "mseal": errno.ENOSYS,
        "socket": errno.EPERM,  # of the log's
        "userfaultfd": errno.ENOSYS,  # asked for once, for migration that is none of ours
    },
)
#: By name, of linux/capability.h: what acting for a guest's users takes, then what the program gives up once it has its root.
CAPABILITIES: Final[Mapping[str, int]] = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "fsetid": 4,
    "setgid": 6,
    "setuid": 7,
    "setfcap": 31,
    "setpcap": 8,
    "sys_chroot": 18,
}
#: Of descriptors: one for every file that the guest's kernel knows of. virtiofsd's own default.
_MOST_DESCRIPTORS = 1_000_000
_FILE_MAX = Path("/proc/sys/fs/file-max")


def jail_of_shares(
    shares: Sequence[Share], program: Path, stage: Path, which: Flavour = Flavour.C, *, rooted: bool
) -> Jail:
    """The jail of the virtiofsd of a machine.

    Args:
        shares: that it serves, each below :data:`SHARES`.
        program: virtiofsd, resolved.
        stage: an empty folder.
        which: of the two programs it is.
        rooted: whether we are root.
    """
    shown, links = libraries(program)
    namespaces = (
        Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.IPC | Namespaces.UTS | Namespaces.NETWORK
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    own = Path("/.proc")
    calls = CALLS if rooted else _keeping_groups(CALLS)
    excused = {Layer.USER} if rooted else set[Layer]()
    return Jail(
        namespaces=namespaces if rooted else namespaces | Namespaces.USER,
        stage=stage,
        calls=calls if which is Flavour.C else None,
        shown=outermost((*shown, program, *((_FILE_MAX,) if _FILE_MAX.exists() else ()))),
        links={**links, Path("/proc/self"): f"{own}/self"},
        folders=(SHARES,),
        shared=tuple(_shared(share) for share in shares),
        devices=(Path("/dev/null"),),
        limits={**default_limits(), resource.RLIMIT_NOFILE: most},
        capabilities=frozenset(CAPABILITIES.values()),
        own_processes=own,  # beside the one setting that the program ends without
        root_inside=not rooted,
        divisible=False,
        excused=frozenset(excused if which is Flavour.C else excused | {Layer.SECCOMP}),
    )


def _shared(share: Share) -> SharedFolder:
    target = SHARES / share.tag
    hidden = tuple(target / path.relative_to(share.path) for path in share.hidden)
    if not share.path.is_dir():
        target /= "file"
    return SharedFolder(share.path, target, share.readonly, hidden)


def _keeping_groups(calls: Calls) -> Calls:
    """With a setgroups(2) that does nothing, successfully.

    The kernel forbids it in the user namespace that an ordinary user makes, and QEMU's virtiofsd ends when it fails. The groups stay
    those of the user, who may reach the same files with them anyway.
    """
    return Calls(calls.allowed - {"setgroups"}, calls.conditions, {**calls.failing, "setgroups": 0})
