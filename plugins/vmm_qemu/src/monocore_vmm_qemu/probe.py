"""Whether this host has what the backend needs. Looks at files; runs nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from attrs import evolve

from monocore_core.interfaces.provider import Host, Problem, VmmCapabilities
from monocore_core.model.rootfs import RootKind
from monocore_core.vmmkit.guestkernel import INSTALL_HINT, find_source
from monocore_core.vmmkit.kvm import kvm_problem
from monocore_core.vmmkit.process import SETPRIV
from monocore_vmm_qemu.options import AccelChoice, QemuOptions
from monocore_vmm_qemu.virtiofsd import INSTALL_HINT as INSTALL_VIRTIOFSD
from monocore_vmm_qemu.virtiofsd import find_virtiofsd

_PROGRAMS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
_PACKAGES = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}
#: Settings that can forbid user namespaces to ordinary users, and the value that does.
_USER_NAMESPACES = {
    "kernel/unprivileged_userns_clone": 0,
    "kernel/apparmor_restrict_unprivileged_userns": 1,
    "user/max_user_namespaces": 0,
}
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
        if options.binary is not None:
            return Problem(
                f"plugins.vmm_qemu.binary is {options.binary}, which is no program",
                "name one that can be run, or leave it out",
            )
        return Problem(f"{_PROGRAMS[architecture]} is not installed", BINARY_HINT)
    if shutil.which(SETPRIV) is None:
        return Problem(f"{SETPRIV} is not installed", "apt-get install util-linux")
    return _kernel_problem(options, architecture) or _kvm_problem(options, architecture)


def narrow(host: Host, options: QemuOptions, capabilities: VmmCapabilities) -> VmmCapabilities:
    """Without what serves folders: disks only."""
    del host
    reason = shares_problem(options)
    if reason is None:
        return capabilities
    roots = capabilities.roots - {RootKind.DIRECTORY}
    return evolve(capabilities, roots=roots, shares=False, lacks=(reason,))


def shares_problem(options: QemuOptions, settings: Path = Path("/proc/sys")) -> str | None:
    """Why this host cannot share folders, or None."""
    if find_virtiofsd(options.virtiofsd) is None:
        return f"virtiofsd, which shares folders, is not installed: {INSTALL_VIRTIOFSD}"
    if os.geteuid() == 0:
        return None
    for name, forbidding in _USER_NAMESPACES.items():
        try:
            forbidden = int((settings / name).read_text()) == forbidding
        except (OSError, ValueError):
            continue  # not every kernel has each
        if forbidden:
            setting = name.replace("/", ".")
            return f"sharing folders as an ordinary user needs user namespaces: {setting} is {forbidding}"
    return None


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
