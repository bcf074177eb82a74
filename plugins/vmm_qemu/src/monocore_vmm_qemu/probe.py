"""Whether this host has what the backend needs. Looks at files; runs nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from monocore_core.interfaces.provider import Host, Problem
from monocore_vmm_qemu.accel import kvm_problem
from monocore_vmm_qemu.kernel import INSTALL_HINT, find_source
from monocore_vmm_qemu.options import AccelChoice, QemuOptions
from monocore_vmm_qemu.process import SETPRIV

_PROGRAMS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
_PACKAGES = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def host_architecture() -> str:
    """Of this host, in Go's words."""
    machine = os.uname().machine
    return _GO_NAMES.get(machine, machine)


BINARY_HINT = f"apt-get install {_PACKAGES.get(host_architecture(), 'qemu-system')}"


def find_binary(configured: Path | None, architecture: str) -> Path | None:
    """The QEMU program for guests of an architecture, or None."""
    wanted = str(configured) if configured is not None else _PROGRAMS.get(architecture)
    found = shutil.which(wanted) if wanted else None
    return Path(found) if found else None


def probe(host: Host, options: QemuOptions) -> Problem | None:
    """Why this host cannot run QEMU machines, or None."""
    del host
    architecture = host_architecture()
    if architecture not in _PROGRAMS:
        return Problem(f"guests for {architecture} are not supported")
    if find_binary(options.binary, architecture) is None:
        name = options.binary or _PROGRAMS[architecture]
        return Problem(f"{name} is not installed", BINARY_HINT)
    if shutil.which(SETPRIV) is None:
        return Problem(f"{SETPRIV} is not installed", "apt-get install util-linux")
    return _kernel_problem(options, architecture) or _kvm_problem(options, architecture)


def _kernel_problem(options: QemuOptions, architecture: str) -> Problem | None:
    source = find_source(options.kernel, architecture)
    if source is None:
        return Problem("no guest kernel was found", INSTALL_HINT)
    if not source.is_file():
        return Problem(f"guest kernel {source} does not exist", INSTALL_HINT)
    return None


def _kvm_problem(options: QemuOptions, architecture: str) -> Problem | None:
    if options.accel is AccelChoice.KVM and (reason := kvm_problem(Path("/"), architecture)):
        return Problem(f"accel is kvm, but {reason}", "set plugins.vmm_qemu.accel to auto")
    return None
