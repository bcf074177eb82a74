"""What a program of the system needs to run, as a jail shows it. Looks at a few names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_TRIPLETS: Final = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def libraries(
    binary: Path, root: Path = Path("/"), data: Iterable[str] = ()
) -> tuple[tuple[Path, ...], Mapping[Path, str]]:
    """Folders with what a program of the system needs to run, and the links that lead there.

    Args:
        binary: the program. One that is not of the system has its own beside it.
        root: in whose place ``/`` stands.
        data: further folders, below ``/usr`` or the program's own prefix.
    """
    triplet = _TRIPLETS.get(os.uname().machine, "")
    links: dict[Path, str] = {}
    shown: list[Path] = []
    for name in ("lib", "lib64", "usr/lib64"):
        path = root / name
        if path.is_symlink():
            links[path] = os.fspath(path.readlink())
        elif path.is_dir():
            below = path / triplet
            shown.append(below if triplet and below.is_dir() else path)
    usr = root / "usr/lib"
    shown.append(usr / triplet if triplet and (usr / triplet).is_dir() else usr)
    prefix = binary.parent.parent
    if prefix not in (root, root / "usr"):
        shown += [prefix / "lib", prefix / "lib64"]
    shown += [place / name for place in {root / "usr", prefix} for name in data]
    shown.append(root / "etc/ld.so.cache")
    return tuple(sorted({path for path in shown if path.exists() and path not in links})), links


def outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Without those that are shown with a folder above them."""
    unique = set(paths)
    return tuple(sorted(path for path in unique if not unique & set(path.parents)))
