"""Whether overlays can be mounted here, found out by mounting one: permissions, old kernels and file systems all show."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from attrs import frozen

from monocore_core.keyed import erase
from monocore_layer_overlayfs.mount import Overlay, mount, unmount

OPAQUE = {False: b"trusted.overlay.opaque", True: b"user.overlay.opaque"}


@frozen
class Ability:
    """What works here.

    Attributes:
        userxattr: overlayfs's own attributes must be ``user.overlay.*``.
    """

    userxattr: bool


def try_out(place: Path) -> Ability | str:
    """Mount something small in ``place``, a folder of ours, and look at it.

    Returns:
        What works, or in a sentence why nothing does.
    """
    if os.geteuid() != 0:
        return "mounting takes root: an ordinary user's mount is seen in a namespace of its own only, not by the VMM's processes"
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=place))
    try:
        return _try(folder)
    except OSError as error:
        return f"the kernel or the file system of {place} refused a trial mount: {error.strerror or error}"
    finally:
        unmount(folder / "root")
        erase(folder)


def _try(folder: Path) -> Ability | str:
    for name in ("lower/folder/hidden", "upper/folder", "names", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "lower" / "gone").touch()
    os.mknod(folder / "upper" / "gone", stat.S_IFCHR, 0)
    userxattr = _mark(folder / "upper" / "folder")
    layers = (folder / "upper", folder / "lower")
    for number, layer in enumerate(layers):
        (folder / "names" / str(number)).symlink_to(layer)
    mount(Overlay(layers, folder / "names", folder / "root", userxattr))
    seen = sorted(str(path.relative_to(folder / "root")) for path in (folder / "root").rglob("*"))
    if seen != ["folder"]:
        return f"a trial mount showed {', '.join(seen) or 'nothing'} instead of one empty folder"
    return Ability(userxattr)


def _mark(folder: Path) -> bool:
    """Make a folder opaque; whether that took the attribute for user namespaces."""
    try:
        os.setxattr(folder, OPAQUE[False], b"y")
    except PermissionError:
        os.setxattr(folder, OPAQUE[True], b"y")
        return True
    return False
