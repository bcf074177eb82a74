"""Run as a program: make a tap in a network namespace of its own, and become what uses it.

``python -I -S tap.py NUMBER PROGRAM ARGUMENT…``: the tap takes the place of the open descriptor NUMBER. It leads nowhere: nothing else is in the
namespace, which goes with the program. An ordinary user gets a user namespace as well. This file imports no other of ours: it starts in
milliseconds, in one thread, as unshare(2) of a user namespace demands. See the kernel's ``networking/tuntap``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
#: Status with which we end when there is no tap; the reason is on standard error.
FAILED = 71


def unshare(flags: int) -> None:
    """Leave namespaces behind; the system call."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(ctypes.c_int(flags)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")


def main(words: list[str]) -> int:
    """Do what the module's docstring says. Comes back only when it failed."""
    number, program, *arguments = words
    try:
        unshare(CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET)
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"template", flags))
        os.set_blocking(tap, False)
        os.dup2(tap, int(number))
        os.execv(program, [program, *arguments])  # noqa: S606 - that is the purpose
    except OSError as error:
        sys.stderr.write(f"{error.filename or program}: {error.strerror}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
