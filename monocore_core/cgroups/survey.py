"""What of the host's control groups is ours to use. Reads, changes nothing.

As root: cgroup v2's nearest group that systemd delegated, else the top of what is mounted; of v1, the top (as other engines do), so that
groups are found again by a daemon that was started elsewhere. As another user: the nearest group that was delegated to
us, which a systemd user unit with ``Delegate=yes`` has, and a login session has not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from monocore_core.cgroups.parse import Mount, folder_of, parse_membership, parse_mountinfo, parse_pids
from monocore_core.cgroups.values import Limit

#: The leaf of a group that was given to us, to which our own processes move.
LEAF = "monocore.self"
_LIMIT = 1 << 20
_DELEGATED = ("trusted.delegate", "user.delegate")
_V1_HINT = (
    "as root it works; cgroup v2 can be delegated to users (kernel word systemd.unified_cgroup_hierarchy=1)"
)
_USER_HINT = (
    "start the daemon as the systemd user unit, or: systemd-run --user --scope -p Delegate=yes monocore …"
)


def _access(path: Path) -> bool:
    return os.access(path, os.W_OK)


def _delegated(folder: Path) -> bool:
    """Whether systemd says that a group is its service's own (systemd.resource-control(5), Delegate=)."""
    for name in _DELEGATED:
        try:
            if os.getxattr(folder, name) == b"1":
                return True
        except OSError:
            continue
    return False


@frozen
class Host:
    """How the host is looked at; tests give other answers.

    Attributes:
        proc: of the process that is to make groups.
        uid: its user.
        writable: whether it may write to a path.
        delegated: whether a group was given to it.
    """

    proc: Path = Path("/proc/self")
    uid: int = field(factory=os.geteuid)
    writable: Callable[[Path], bool] = _access
    delegated: Callable[[Path], bool] = _delegated


@frozen
class Way:
    """How a limit is enforced: in groups below ``base``, of version 1 or 2.

    ``leaf``: our own processes are in ``base`` itself, and have to move to a leaf first (v2 has no processes in inner groups).
    """

    version: int
    base: Path
    leaf: bool = False


@frozen
class WhyNot:
    """Why a limit cannot be enforced, a sentence, and what to do about it."""

    reason: str
    hint: str = ""


@frozen
class Survey:
    """For each limit, how, or why not."""

    ways: Mapping[Limit, Way | WhyNot]

    def way(self, limit: Limit) -> Way | None:
        """How a limit is enforced, or None."""
        found = self.ways[limit]
        return found if isinstance(found, Way) else None


def survey(host: Host) -> Survey:
    """Look at the host. Raises nothing; what cannot be read is not there."""
    mounts = parse_mountinfo(read(host.proc / "mountinfo"))
    member = parse_membership(read(host.proc / "cgroup"))
    unified = next((mount for mount in mounts if mount.version == 2), None)
    second = _second(host, unified, member.get("")) if unified else None
    return Survey({limit: _limit(host, limit, mounts, member, second) for limit in Limit})


def read(path: Path) -> bytes:
    """A file of the kernel's, or nothing when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return b""


def _limit(
    host: Host,
    limit: Limit,
    mounts: tuple[Mount, ...],
    member: Mapping[str, str],
    second: Way | WhyNot | None,
) -> Way | WhyNot:
    if limit is Limit.IO and _first(mounts, "blkio") is not None:
        return WhyNot(
            "cgroup v1 does not limit writes that go through the page cache",
            "the VMM can limit its disks itself",
        )
    mount = _first(mounts, limit.value)
    if mount is not None:
        return _below(host, mount, limit, member)
    if isinstance(second, Way):
        if limit.value.encode() in read(second.base / "cgroup.controllers").split():
            return second
        return WhyNot(
            f"cgroup v2 has no {limit} controller at {second.base}",
            f"systemctl edit user@.service, [Service] Delegate={' '.join(Limit)}" if host.uid else "",
        )
    return second or WhyNot("no cgroup file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def _first(mounts: tuple[Mount, ...], controller: str) -> Mount | None:
    return next((mount for mount in mounts if controller in mount.controllers), None)


def _below(host: Host, mount: Mount, limit: Limit, member: Mapping[str, str]) -> Way | WhyNot:
    """Of v1."""
    base = mount.point if host.uid == 0 else folder_of(mount, member.get(limit.value, "/"))
    if base is None:
        return WhyNot(f"our group of cgroup v1's {limit} controller is not in {mount.point}")
    if not host.writable(base):
        if host.uid == 0:
            return WhyNot(
                f"{base} cannot be written to", "give the container its cgroup file system writable"
            )
        return WhyNot(f"cgroup v1's {limit} controller belongs to root", _V1_HINT)
    return Way(1, base)


def _second(host: Host, mount: Mount, member: str | None) -> Way | WhyNot:
    """Where groups of v2 can be made."""
    own = folder_of(mount, member) if member is not None else None
    if own is None:
        return WhyNot(f"our group of cgroup v2 is not in {mount.point}")
    if own.name == LEAF:  # where we moved to ourselves: what was given to us is the group above
        own = own.parent
    chain = [folder for folder in (own, *own.parents) if folder.is_relative_to(mount.point)]
    given = next((folder for folder in chain if host.delegated(folder)), None)
    if given is None:
        given = mount.point if host.uid == 0 else own
    needed = (given, given / "cgroup.procs", given / "cgroup.subtree_control")
    if not all(host.writable(path) for path in needed):
        if host.uid == 0:
            return WhyNot(
                f"{given} cannot be written to", "give the container its cgroup file system writable"
            )
        return WhyNot(f"our group {own} is not delegated to user {host.uid}", _USER_HINT)
    return _inner(host, given, own)


def _inner(host: Host, given: Path, own: Path) -> Way | WhyNot:
    """Whether processes are where v2 has none once its children have controllers. The root of all is exempt."""
    pids = parse_pids(read(given / "cgroup.procs")) if (given / "cgroup.events").exists() else ()
    if not pids:
        return Way(2, given)
    ours = host.delegated(given) and given == own
    if ours or set(pids) <= {os.getpid()}:
        return Way(2, given, leaf=True)
    return WhyNot(
        f"{len(pids)} processes are in {given} itself, which cgroup v2 does not allow beside groups with limits",
        "start monocore in a service of its own with Delegate=yes",
    )
