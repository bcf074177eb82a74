"""What can be known of KVM by reading.

That ``/dev/kvm`` opens proves nothing: with only ``kvm_pvm`` loaded, an ordinary guest kernel is emulated instruction by
instruction and never gets anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

_MODULES = ("kvm_intel", "kvm_amd")


def kvm_problem(root: Path, architecture: str) -> str | None:
    """Why KVM cannot run an ordinary guest, as far as reading tells; None when it may.

    Args:
        root: ``/``, or a folder that stands for it.
        architecture: of host and guest, in Go's words.
    """
    device = root / "dev/kvm"
    if not device.exists():
        return "/dev/kvm does not exist"
    modules = root / "sys/module"
    known = architecture == "arm64" or any((modules / module).is_dir() for module in _MODULES)
    if not known and (modules / "kvm_pvm").is_dir():  # whoever may open it
        return "KVM here is kvm_pvm alone, which cannot run an ordinary guest kernel"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user"
    return None if known else "neither kvm_intel nor kvm_amd is loaded"
