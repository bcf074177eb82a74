"""The image: this host's files, in a store of its own."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from monocore_core.guest.build import build, find_compiler, native_architecture
from monocore_core.guest.build import source_digest as agent_digest
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.reference import parse_reference
from monocore_core.store import Store
from monocore_core.testing.built import BuiltSource
from monocore_core.testing.filespec import FileSpec, directory, file
from monocore_core.testing.images import RunConfig, build_image
from monocore_core.testing.packing import pack
from scripts.nested.contents import Contents

REFERENCE = "localhost/monocore/nested:latest"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDERS = ("dev", "etc", "proc", "run", "sys", "usr", "var")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


async def store_image(chosen: Contents, checkout: Path, home: Path) -> Image:
    """Make the image and keep it in the store ``home``, in place of the one that was there.

    Raises:
        GuestError, Unsupported: the guest agent could not be compiled.
        StorageError: the disk refuses.
    """
    platform = Platform.host()
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="image-") as name, Store.open(home) as store:
        folder = Path(name)
        agent = folder / "agent"
        build(platform.architecture, agent, find_compiler(native_architecture()))
        built = build_image(
            [
                pack(_system(chosen), "none", folder),
                pack(_checkout(chosen, checkout, agent.read_bytes()), "none", folder),
            ],
            run=RunConfig(env=(f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"), working_dir=str(checkout)),
            platform=platform,
        )
        image = await store.pull(BuiltSource(built), parse_reference(REFERENCE), platform)
        store.prune()
        return image


def _system(chosen: Contents) -> Iterator[FileSpec]:
    yield from map(directory, _FOLDERS)
    yield directory("root", 0o700)
    for name in ("tmp", "var/tmp"):
        yield directory(name, 0o777 | stat.S_ISVTX)
    yield from chosen.system.specs()
    for name, text in _FILES.items():
        yield file(name, text.encode())


def _checkout(chosen: Contents, checkout: Path, agent: bytes) -> Iterator[FileSpec]:
    """The project, with the agent where a release carries it: compiling it takes long in a guest that is emulated."""
    yield from chosen.checkout.specs()
    carried = checkout.relative_to("/") / "monocore_core/guest/bin"
    yield directory(str(carried))
    yield file(str(carried / f"agent-{native_architecture()}"), agent, 0o755)
    yield file(str(carried / "digest"), agent_digest().encode())
