"""What ``monocore doctor`` looks at on the host. Every check is quick, changes nothing and raises nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from monocore_core.cgroups import Host, WhyNot, survey
from monocore_core.cli.render import human_size
from monocore_core.interfaces.provider import Interface, VmmCapabilities
from monocore_core.model.security import ALWAYS, JailMode, Security
from monocore_core.plan.fit import Offer
from monocore_core.plugins import Plugins

MIN_FREE = 2 * 1000**3
_QEMU = {"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64"}
_QEMU_PACKAGE = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    NOTE = "note"
    """Works without it, or slower."""
    FAIL = "fail"


@frozen
class Check:
    """One finding: what was looked at, how it is, and what to do about it."""

    name: str
    state: State
    detail: str
    hint: str = ""


def host_checks(home: Path, security: Security) -> list[Check]:
    """Everything about the machine that matters here."""
    return [
        python(),
        kernel(),
        kvm(),
        qemu(),
        tun(),
        user_namespaces(),
        jail(security),
        *limits(),
        disk_space(home),
    ]


def python() -> Check:
    """The interpreter."""
    detail = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < (3, 11):  # noqa: UP036 - said rather than crashed
        return Check("python", State.FAIL, detail, "monocore needs Python 3.11 or later")
    return Check("python", State.OK, detail)


def kernel() -> Check:
    """System and architecture."""
    detail = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if platform.system() != "Linux":
        return Check("host", State.FAIL, detail, "monocore runs on Linux")
    return Check("host", State.OK, detail)


def kvm(dev: Path = Path("/dev/kvm"), modules: Path = Path("/sys/module")) -> Check:
    """Whether hardware virtualisation can be expected to work. That the device opens proves nothing: see the modules."""
    tcg = "guests are emulated, which is slower but complete"
    if not dev.exists():
        hint = (
            "enable virtualisation in the firmware or nested virtualisation in the cloud, then: modprobe kvm"
        )
        return Check("kvm", State.NOTE, f"no {dev}: {tcg}", hint)
    found = [name for name in ("kvm_intel", "kvm_amd") if (modules / name).is_dir()]
    if not found and (modules / "kvm_pvm").is_dir():
        return Check("kvm", State.NOTE, f"{dev} is kvm_pvm's, which cannot run ordinary guest kernels: {tcg}")
    if not os.access(dev, os.R_OK | os.W_OK):
        return Check(
            "kvm", State.NOTE, f"{dev} may not be opened: {tcg}", "usermod -aG kvm $USER, then log in again"
        )
    if found:
        return Check("kvm", State.OK, f"{dev} with {found[0]}")
    if platform.machine() == "aarch64":
        return Check("kvm", State.OK, f"{dev}")
    return Check("kvm", State.NOTE, f"{dev} opens, but neither kvm_intel nor kvm_amd is loaded: {tcg}")


def qemu() -> Check:
    """The emulator and its version."""
    program = _QEMU.get(platform.machine(), f"qemu-system-{platform.machine()}")
    package = _QEMU_PACKAGE.get(platform.machine(), "qemu-system")
    path = shutil.which(program)
    if path is None:
        return Check(
            "qemu", State.NOTE, f"{program} is not in PATH", f"apt-get install {package} (or your system's)"
        )
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=True, text=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Check("qemu", State.FAIL, f"{path} does not run: {error}", f"reinstall {package}")
    return Check("qemu", State.OK, f"{said.splitlines()[0] if said else 'no version'} ({path})")


def tun(dev: Path = Path("/dev/net/tun")) -> Check:
    """For networks with tap devices."""
    if dev.exists() and os.access(dev, os.R_OK | os.W_OK):
        return Check("tun", State.OK, f"{dev}")
    hint = f"chmod 0666 {dev}" if dev.exists() else "modprobe tun, or mknod it (c 10 200)"
    return Check("tun", State.NOTE, f"{dev} cannot be opened: no tap devices", hint)


def user_namespaces(proc: Path = Path("/proc/sys")) -> Check:
    """For rootless networks and jails."""
    blocked = [
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ]
    if not Path("/proc/self/ns/user").exists():
        return Check("namespaces", State.NOTE, "this kernel has no user namespaces")
    for name, value, hint in blocked:
        if _read(proc / name) == value and (os.geteuid() != 0 or name.startswith("user/")):
            return Check("namespaces", State.NOTE, f"{name.replace('/', '.')} is {value}", hint)
    return Check("namespaces", State.OK, "user namespaces can be made")


def limits(host: Host | None = None) -> list[Check]:
    """Which limits on what a VMM may use of the host are enforced here; those on the guest itself are the VMM's."""
    checks: list[Check] = []
    for limit, way in survey(host or Host()).ways.items():
        if isinstance(way, WhyNot):
            checks.append(Check(f"limit {limit}", State.NOTE, f"not enforced: {way.reason}", way.hint))
        else:
            checks.append(Check(f"limit {limit}", State.OK, f"by cgroup v{way.version} in {way.base}"))
    return checks


def jail(security: Security) -> Check:
    """Which layers of a jail this host gives to VMMs that run in one, by making one."""
    from monocore_core.jail.survey import survey as survey_jail

    layers, problem = survey_jail()
    missing = security.missing(layers)
    detail = f"{', '.join(sorted(layers))}" if layers else "none can be made"
    if problem:
        detail += f" ({problem})"
    if missing:
        names = ", ".join(sorted(missing))
        return Check("jail", State.FAIL, f"{detail}; required: {names}", "see docs/security.md")
    if security.jail is JailMode.OFF:
        return Check(
            "jail", State.NOTE, f"switched off; could be: {detail}", "set jail in [security] to auto"
        )
    whole = layers >= ALWAYS
    return Check("jail", State.OK if whole else State.NOTE, detail, "" if whole else "see docs/security.md")


def disk_space(home: Path) -> Check:
    """Where images are kept."""
    folder = next((path for path in (home, *home.parents) if path.is_dir()), Path("/"))
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", State.FAIL, f"{folder}: {error.strerror}", "choose another folder with --home")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check("disk", State.FAIL, f"{folder} is not writable", "choose another folder with --home")
    detail = f"{human_size(free)} free for {home}"
    if free < MIN_FREE:
        return Check("disk", State.NOTE, detail, "make room, or choose another folder with --home")
    return Check("disk", State.OK, detail)


def backend_checks(offers: tuple[Offer, ...]) -> list[Check]:
    """Each backend's own word."""
    checks: list[Check] = []
    for offer in offers:
        name = f"{offer.interface.label} {offer.name}"
        if offer.problem is None:
            checks.append(Check(name, State.OK, offer.summary))
        else:
            checks.append(Check(name, State.NOTE, offer.problem.reason, offer.problem.hint))
        if isinstance(offer.capabilities, VmmCapabilities):
            checks += [Check(name, State.NOTE, lack) for lack in offer.capabilities.lacks]
    return checks


def plugin_checks(found: Plugins) -> list[Check]:
    """What is set aside, and interfaces for which nothing is installed."""
    checks = [
        Check(f"plugin {problem.plugin}", State.FAIL, problem.reason, problem.hint)
        for problem in found.problems
    ]
    checks += [
        Check(interface.label, State.FAIL, "no backend is installed", "see 'monocore plugins'")
        for interface in Interface
        if not found.of(interface)
    ]
    return checks


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
