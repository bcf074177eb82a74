"""Whether this host can run libkrun. Looks at files; loads nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from monocore_core.interfaces.provider import Host, Problem
from monocore_core.vmmkit.kvm import kvm_problem
from monocore_vmm_libkrun.library import INSTALL_HINT, find
from monocore_vmm_libkrun.options import KrunOptions

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_KVM_HINTS = {
    "exist": "enable virtualisation in the firmware, or nested virtualisation in the cloud",
    "opened": "usermod -aG kvm $USER, then log in again",
}


def architecture() -> str:
    """Of this host, in Go's words."""
    machine = os.uname().machine
    return ARCHITECTURES.get(machine, machine)


def probe(host: Host, options: KrunOptions) -> Problem | None:
    """Why this host cannot run libkrun, or None."""
    del host
    return problem(options, Path("/"), sys.platform)


def problem(options: KrunOptions, root: Path, system: str) -> Problem | None:
    """As :func:`probe`, of a host whose files are in ``root``."""
    if architecture() not in ARCHITECTURES.values():
        return Problem(f"libkrun has no guests for {architecture()}")
    missing = _missing(options, root, system)
    if missing is not None:
        return Problem(missing, INSTALL_HINT)
    if (
        system == "darwin"
    ):  # Hypervisor.framework is there since macOS 10.10; whether it may be used shows when a machine starts
        return None
    reason = kvm_problem(root, architecture())
    if reason is None:
        return None
    hint = next((text for word, text in _KVM_HINTS.items() if word in reason), "")
    return Problem(reason, hint)


def _missing(options: KrunOptions, root: Path, system: str) -> str | None:
    """Which file is not there, in a sentence."""
    found = find(options, system=system, root=root)
    if found is None:
        return f"{options.library} does not exist" if options.library else "libkrun is not installed"
    if found.firmware is None and options.kernel is None:
        return "libkrunfw, which holds the guest kernel, is not installed"
    if found.firmware is not None and not found.firmware.is_file():
        return f"{found.firmware} does not exist"
    return None
