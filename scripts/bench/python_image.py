"""An image with this host's Python: its program, its libraries, its modules."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from monocore_core.testing.filespec import FileSpec, directory, file
from monocore_core.testing.images import BuiltImage
from monocore_core.testing.samples import busybox_image
from scripts.bench.peers import PeerFailed
from scripts.nested.libraries import libraries

#: Debian's, which `make setup` needs in any case.
PROGRAM = Path("/usr/bin/python3")
_LEFT_OUT = frozenset(
    {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "dist-packages", "site-packages"}
)


def python_image() -> BuiltImage:
    """A small Linux with ``/usr/bin/python3``.

    Raises:
        PeerFailed: this host has no Python there.
    """
    if not PROGRAM.exists():
        raise PeerFailed(f"{PROGRAM} is not installed")
    return busybox_image(above=(list(_layer()),))


def _layer() -> Iterator[FileSpec]:
    program = PROGRAM.resolve()
    modules = Path(sysconfig.get_path("stdlib", "posix_prefix", vars={"installed_base": "/usr"}))
    modules = modules.with_name(program.name)
    extensions = sorted((modules / "lib-dynload").glob("*.so"))
    found = {path: path.resolve() for path in libraries([program, *extensions]).found}
    folders: set[str] = set()
    for path, source in {PROGRAM: program, **found, **_files(modules)}.items():
        for parent in reversed(path.parents[:-1]):
            if str(parent) not in folders:
                folders.add(str(parent))
                yield directory(str(parent)[1:])
        mode = stat.S_IMODE(source.stat().st_mode)
        yield file(str(path)[1:], source.read_bytes(), mode)


def _files(folder: Path) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for base, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        found |= {Path(base, name): Path(base, name).resolve() for name in files}
    return {path: source for path, source in found.items() if source.is_file()}
