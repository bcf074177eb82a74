"""Which uplink is used, and why not a better one. Looks; changes nothing but the memory of what was tried."""

from __future__ import annotations

import shutil
from pathlib import Path

from monocore_core.errors import Unsupported
from monocore_core.interfaces.provider import Problem
from monocore_net_tap import forwarding
from monocore_net_tap.options import UplinkKind
from monocore_net_tap.uplink import pasta, slirp, trial


def uplink(kind: UplinkKind, state: Path, *, rootless: bool) -> tuple[UplinkKind, tuple[str, str] | None]:
    """The uplink to use, and (what, why) of the one that would be faster.

    Raises:
        Unsupported: the configured one cannot work.
    """
    found = obstacle(kind, state, rootless=rootless)
    if found is not None:
        raise Unsupported(found.reason, hint=found.hint)
    if kind is not UplinkKind.AUTO:
        return kind, None
    if not rootless:
        reason = forwarding.obstacle()
        if reason is None:
            return UplinkKind.VETH, None
        return UplinkKind.SLIRP, ("not veth", reason)
    if shutil.which(slirp.PROGRAM) is None:
        return UplinkKind.PASTA, None
    return UplinkKind.SLIRP, None


def obstacle(kind: UplinkKind, state: Path, *, rootless: bool) -> Problem | None:
    """Why there would be no uplink of this kind, or None."""
    if kind is UplinkKind.VETH and rootless:
        return Problem("the uplink veth needs root", "[plugins.net_tap] uplink = 'slirp4netns'")
    if kind is UplinkKind.PASTA:
        reason = trial.obstacle(state)
        return Problem(reason, "[plugins.net_tap] uplink = 'slirp4netns'") if reason else None
    needed = kind is UplinkKind.SLIRP or (kind is UplinkKind.AUTO and rootless)
    if not needed or shutil.which(slirp.PROGRAM) is not None:
        return None
    reason = f"{slirp.PROGRAM} is not installed"
    if kind is UplinkKind.AUTO and shutil.which(pasta.PROGRAM) is not None:
        second = trial.obstacle(state)
        if second is None:
            return None
        reason += f"; {second}"
    return Problem(reason, f"apt-get install {slirp.PROGRAM}")
