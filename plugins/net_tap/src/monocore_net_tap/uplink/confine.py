"""The jail of slirp4netns: its sockets are the host's, and there is nothing else. Looks at a few names.

It parses packets of hostile guests. It needs capabilities for what it does first: it joins the sandboxes' namespace, makes the uplink there, and
has a folder of its own for its root (``--enable-sandbox``). It gives up all but one (``CAP_NET_BIND_SERVICE``), before it reads a packet; as another user than
root it would not. In an ordinary user's namespaces, whose root it is, they are worth nothing outside. Landlock would forbid it to mount, so it does without.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from attrs import field, frozen

from monocore_core.jail import Calls, Condition, Jail, Namespaces, libraries, outermost
from monocore_core.model.security import Layer, Security
from monocore_net_tap.holder import Holder

_CLONE_NEWNS = 0x00020000
#: Every namespace of ``linux/sched.h``.
_CLONE_NEW = 0x7E020080
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_NAMES: Final = """
accept accept4 access arch_prctl bind brk capget capset chdir clock_getres clock_gettime clock_nanosleep close connect dup dup2 dup3 epoll_create1
epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid
getgid getpeername getpid getppid getrandom getsockname getsockopt gettid gettimeofday getuid ioctl listen lseek lstat madvise membarrier
mkdir mkdirat mmap mount mprotect mremap munmap nanosleep newfstatat open openat pipe2 pivot_root poll ppoll prctl pread64 prlimit64 pselect6 read
readlink readlinkat readv recvfrom recvmmsg recvmsg restart_syscall rmdir rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity
sched_yield seccomp select sendmmsg sendmsg sendto set_robust_list set_tid_address setns setsockopt shutdown sigaltstack stat statfs statx sysinfo
tgkill time umount2 uname unlink unlinkat wait4 waitid write writev
"""
#: Made by tracing slirp4netns 1.2 through this backend's tests, with what its libraries may use instead on other hosts.
CALLS: Final = Calls(
    allowed=frozenset(_NAMES.split()),
    conditions=(
        Condition("clone", 0, _CLONE_NEW, (0,)),  # the process that joins the namespace
        Condition("unshare", 0, 0xFFFFFFFF, (_CLONE_NEWNS,)),
        Condition("socketpair", 0, 0xFFFFFFFF, (_AF_UNIX,)),
        Condition("socket", 0, 0xFFFFFFFF, (_AF_INET, _AF_INET6)),
    ),
    failing={
        "clone3": errno.ENOSYS,  # its flags are out of a filter's sight; the C library takes clone then
        "io_uring_setup": errno.ENOSYS,
        "map_shadow_stack": errno.ENOSYS,
        "mseal": errno.ENOSYS,
    },
)
#: What nobody can ask of it: its network is the host's.
EXCUSED: Final = frozenset({Layer.NETWORK, Layer.LANDLOCK})
#: setpcap, net_bind_service, net_admin, sys_admin.
CAPABILITIES: Final = frozenset({8, 10, 12, 21})


@frozen
class Confinement:
    """What is asked of the jail, as it comes to the keeper.

    Attributes:
        security: as configured.
        cache: folder for the launcher, where it has to be built.
    """

    security: Security = field(factory=Security)
    cache: str = ""


def jail_of_slirp(program: Path, holder: Holder, stage: Path, resolvers: Path, *, rootless: bool) -> Jail:
    """The jail of a slirp4netns.

    Args:
        program: slirp4netns, resolved.
        holder: of the namespaces that it serves.
        stage: an empty folder.
        resolvers: what it has for ``/etc/resolv.conf``.
        rootless: whether the namespaces are an ordinary user's.
    """
    shown, links = libraries(program)
    return Jail(
        namespaces=Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.IPC | Namespaces.UTS,
        stage=stage,
        calls=CALLS,
        shown=outermost((*shown, program)),
        placed=((resolvers, Path("/etc/resolv.conf")),),
        links=links,
        folders=(Path("/run"), Path("/tmp")),  # noqa: S108 - of the jail
        devices=(Path("/dev/null"), Path("/dev/urandom"), Path("/dev/net/tun")),
        capabilities=CAPABILITIES,
        connects=True,
        join=Path(holder.user) if rootless else None,
        landlock=False,
        divisible=False,
        excused=EXCUSED if rootless else EXCUSED | {Layer.USER},
    )
