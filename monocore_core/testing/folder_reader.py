"""Reads a folder on disk into the model's words, so that it can be compared with what the layers mean."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import evolve

from monocore_core.layertar import EntryKind
from monocore_core.testing.layer_model import Found

_KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFCHR: EntryKind.CHARACTER,
    stat.S_IFBLK: EntryKind.BLOCK,
    stat.S_IFIFO: EntryKind.FIFO,
}
_ACCESS = b"system.posix_acl_access"


def read_folder(root: Path) -> dict[bytes, Found]:
    """Every path below ``root``, ``b""`` for itself; follows nothing."""
    top = os.fsencode(root)
    paths = [b""]
    for folder, folders, files in os.walk(top):
        prefix = os.path.relpath(folder, top) + b"/" if folder != top else b""
        paths += [prefix + name for name in (*folders, *files)]
    stats = {path: os.lstat(_below(top, path)) for path in paths}
    links: dict[int, set[bytes]] = {}
    for path, status in stats.items():
        links.setdefault(status.st_ino, set()).add(path)
    return {path: _found(_below(top, path), status, links[status.st_ino]) for path, status in stats.items()}


def on_disk(tree: Mapping[bytes, Found]) -> dict[bytes, Found]:
    """What a file system makes of the model's tree: an access list and the mode are one thing there, and the mode wins."""
    return {path: _with_list(found) for path, found in tree.items()}


def mapped(tree: Mapping[bytes, Found], change: Callable[[Found], Found | None]) -> dict[bytes, Found]:
    """The tree with each file changed, or left out where ``change`` gives None."""
    changed = {path: change(found) for path, found in tree.items()}
    return {path: found for path, found in changed.items() if found is not None}


def _below(root: bytes, path: bytes) -> bytes:
    return root + b"/" + path if path else root


def _found(path: bytes, status: os.stat_result, links: set[bytes]) -> Found:
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    device = kind in {EntryKind.CHARACTER, EntryKind.BLOCK}
    return Found(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        content=Path(os.fsdecode(path)).read_bytes() if kind is EntryKind.FILE else b"",
        target=os.readlink(path) if kind is EntryKind.SYMLINK else b"",  # noqa: PTH115 - verbatim
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if device else (0, 0),
        xattrs={
            os.fsencode(name): os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        },
        links=frozenset(links),
    )


def _with_list(found: Found) -> Found:
    """Put the mode's bits into the access list's entries for owner, mask and others (acl(5), "Correspondence")."""
    value = found.xattrs.get(_ACCESS)
    if value is None:
        return found
    bits = {1: found.mode >> 6 & 7, 0x10: found.mode >> 3 & 7, 0x20: found.mode & 7}
    entries = [value[at : at + 8] for at in range(4, len(value), 8)]
    parts = [
        entry[:2] + bits.get(tag, int.from_bytes(entry[2:4], "little")).to_bytes(2, "little") + entry[4:]
        for entry in entries
        for tag in (int.from_bytes(entry[:2], "little"),)
    ]
    return evolve(found, xattrs={**found.xattrs, _ACCESS: value[:4] + b"".join(parts)})
