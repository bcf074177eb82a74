"""Whether this host can have the namespace, and its way out. Looks; changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from monocore_core.interfaces.provider import Host, Problem
from monocore_net_tap import choice, nft, syscalls
from monocore_net_tap.options import TapOptions

#: Settings that forbid user namespaces to ordinary users, with the value that does.
_FORBIDDING = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def probe(host: Host, options: TapOptions) -> Problem | None:
    """Why this host cannot, or None."""
    rootless = os.geteuid() != 0
    return (
        _programs()
        or _tun()
        or _namespaces(rootless=rootless)
        or choice.obstacle(options.uplink, host.state, rootless=rootless)
    )


def _programs() -> Problem | None:
    if shutil.which("unshare") is None:
        return Problem("unshare is not installed", "apt-get install util-linux")
    if not nft.available():
        return Problem("nftables is not installed", "apt-get install nftables")
    return None


def _tun() -> Problem | None:
    path = Path(syscalls.TUN)
    if not path.exists():
        return Problem(f"there is no {path}", "modprobe tun")
    if not os.access(path, os.R_OK | os.W_OK):
        return Problem(
            f"{path} may not be opened by this user", f"chmod 0666 {path}, as distributions have it"
        )
    return None


def _namespaces(*, rootless: bool) -> Problem | None:
    if not Path("/proc/self/ns/net").exists():
        return Problem("the kernel has no network namespaces")
    if not rootless:
        return (
            None
            if _capable()
            else Problem("root lacks the capabilities here", "CAP_NET_ADMIN and CAP_SYS_ADMIN")
        )
    for path, value, hint in _FORBIDDING:
        if _read(path) == value:
            return Problem("ordinary users may not make user namespaces", hint)
    return None


def _capable() -> bool:
    """Whether we have CAP_NET_ADMIN (12) and CAP_SYS_ADMIN (21); see capabilities(7)."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> 12 & 1 and held >> 21 & 1)
    return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
