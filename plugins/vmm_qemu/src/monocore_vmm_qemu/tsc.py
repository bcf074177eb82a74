"""How fast this host's time-stamp counter runs, which under TCG is the guest's.

A guest that is not told measures it against an emulated timer, and on a busy host it measures nothing: then its clock is coarse, and
KVM inside it never enters a guest.
"""

from __future__ import annotations

import fcntl
import functools
import os
from pathlib import Path

#: From ``linux/kvm.h``; the second is a VM's since Linux 5.17.
_KVM_CREATE_VM, _KVM_GET_TSC_KHZ = 0xAE01, 0xAEA3
#: From 100 MHz to 100 GHz; anything else is no frequency.
_PLAUSIBLE = range(100_000, 100_000_000)


@functools.cache
def host_tsc_khz(device: Path = Path("/dev/kvm")) -> int | None:
    """Kilohertz, as KVM knows it, whichever its module; None where it cannot be asked. Takes a millisecond, once."""
    try:
        kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        machine = fcntl.ioctl(kvm, _KVM_CREATE_VM)
        try:
            khz = fcntl.ioctl(machine, _KVM_GET_TSC_KHZ)
        finally:
            os.close(machine)
    except OSError:
        return None
    finally:
        os.close(kvm)
    return khz if khz in _PLAUSIBLE else None
