"""What a libkrun's process keeps of the host's files and rights once it is forked (:mod:`monocore_core.jail.inner`), and how the fork server is told. Pure.

The library is loaded and its process forked, so there is no program to execute in a jail: the process gives up everything else itself, before the
first call to libkrun, which parses disks among other things. It keeps the host's process namespace, and root its id.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final, cast

from monocore_core.jail import Confinement, Namespaces
from monocore_core.jail.description import default_limits
from monocore_core.model.machine import MachineSpec, Share
from monocore_core.model.network import NoNetwork, Tap
from monocore_core.model.rootfs import DiskFormat
from monocore_vmm_libkrun.library import Libraries
from monocore_vmm_libkrun.messages import Message
from monocore_vmm_libkrun.options import KrunOptions

_KVM, _TUN = Path("/dev/kvm"), Path("/dev/net/tun")
_ALWAYS: Final = (Path("/dev/null"), Path("/dev/urandom"))
#: The distribution's libraries, of which one is loaded late, and its own process.
_SYSTEM: Final = tuple(map(Path, ("/usr/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self")))
#: To act for the users of a guest in a folder that it shares: chown, dac_override, fowner, fsetid, setgid, setuid, setfcap.
_SERVING: Final = frozenset({0, 1, 3, 4, 6, 7, 31})
_NET_ADMIN: Final = 12


def confinement_of(
    spec: MachineSpec,
    options: KrunOptions,
    libraries: Libraries,
    shares: tuple[Share, ...],
    *,
    rooted: bool,
) -> Confinement:
    """What the process of a machine keeps. Looks whether a few paths are there.

    Args:
        spec: of the machine.
        options: of the backend.
        libraries: that the fork server has loaded.
        shares: of the machine, files among them replaced by folders.
        rooted: whether it is root.
    """
    namespaces = Namespaces.MOUNT | Namespaces.IPC | Namespaces.UTS
    if not rooted:
        namespaces |= Namespaces.USER
    if isinstance(spec.attachment, NoNetwork) and not options.tsi:
        namespaces |= Namespaces.NETWORK
    loaded = [path.resolve() for path in (libraries.krun, libraries.firmware) if path is not None]
    shown = [spec.boot, spec.directory, *loaded, *_SYSTEM]
    written: list[Path] = []
    for disk in spec.disks:
        (shown if disk.readonly else written).append(disk.path)
        (shown if disk.readonly or disk.format is DiskFormat.QCOW2 else written).extend(disk.files)
    shown += [share.path for share in shares if share.readonly]
    if options.kernel is not None:
        shown.append(options.kernel)
    capabilities = _SERVING if shares and rooted else frozenset[int]()
    if isinstance(spec.attachment, Tap) and rooted:
        capabilities |= {_NET_ADMIN}
    limits = dict(default_limits())
    if shares:  # one descriptor for each file that the guest knows
        del limits[resource.RLIMIT_NOFILE]
    return Confinement(
        shown=_there(shown),
        written=_there(written),
        folders=_there(share.path for share in shares if not share.readonly),
        devices=_there((*_ALWAYS, _KVM, *((_TUN,) if isinstance(spec.attachment, Tap) else ()))),
        capabilities=capabilities,
        namespaces=namespaces,
        limits=limits,
        connects=options.tsi,
    )


def told(what: Confinement) -> Message:
    """As a message's part. :func:`understood` makes of it what it was."""
    return {
        "shown": list(map(str, what.shown)),
        "written": list(map(str, what.written)),
        "folders": list(map(str, what.folders)),
        "devices": list(map(str, what.devices)),
        "capabilities": sorted(what.capabilities),
        "namespaces": int(what.namespaces),
        "limits": list(map(list, what.limits.items())),
        "connects": what.connects,
        "badness": what.badness,
    }


def understood(said: Message) -> Confinement:
    """What :func:`told` said, which was ours."""

    def paths(name: str) -> tuple[Path, ...]:
        return tuple(Path(str(word)) for word in cast("list[object]", said[name]))

    return Confinement(
        shown=paths("shown"),
        written=paths("written"),
        folders=paths("folders"),
        devices=paths("devices"),
        capabilities=frozenset(cast("list[int]", said["capabilities"])),
        namespaces=Namespaces(cast("int", said["namespaces"])),
        limits=dict(cast("list[tuple[int, int]]", said["limits"])),
        connects=bool(said["connects"]),
        badness=cast("int", said["badness"]),
    )


def _there(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Without those that this host does not have, each once."""
    return tuple(dict.fromkeys(path for path in paths if path.exists()))
