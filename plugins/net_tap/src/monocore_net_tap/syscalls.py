"""One function for each system call that the standard library of Python 3.11 does not have."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
TUN = "/dev/net/tun"
PR_SET_PDEATHSIG = 1
NETLINK_NETFILTER = 12  # Python has no name for it

_LIBC = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int, kind: int) -> None:
    """Join a namespace, the calling thread alone; see the manual page of section 2."""
    _check(_LIBC.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def die_with_parent(signal: int) -> None:
    """Have the kernel send us a signal when our parent ends; PR_SET_PDEATHSIG of prctl(2)."""
    _check(_LIBC.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl")


def open_tap(name: str) -> int:
    """A descriptor of the tap device with this name, which is made when it is not there.

    Frames carry a ``virtio_net_hdr``, which QEMU negotiates over (TUNGETIFF); see the kernel's documentation of tuntap.

    Raises:
        OSError: EBUSY when somebody else has it open; EACCES, EPERM.
    """
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(
            descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def persist(descriptor: int) -> None:
    """Let a tap device stay when nobody has it open."""
    fcntl.ioctl(descriptor, TUNSETPERSIST, 1)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
