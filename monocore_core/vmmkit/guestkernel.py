"""Find the guest kernel and make of it a file that QEMU boots.

Looked for, in this order: the configured path, ``libkrunfw`` in the system's library folders, and the wheel that the extra
``kernel`` installs. A path may also name a kernel that QEMU takes as it is (``vmlinux``, ``bzImage``, arm64 ``Image``).

What is made lies in the cache under its SHA-256, and a link named after the source file's identity (path, size, time of
change) points to it: on the second start this costs a ``stat`` and a ``readlink``.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from monocore_core.errors import Corrupt, NotFound, StorageError
from monocore_core.vmmkit.elf import MAGIC, Elf, ElfMachine, ElfType
from monocore_core.vmmkit.pvh import pvh_elf, stub_elf

#: Changes when the same library would give another file.
_FORMAT = 1
_NAMES = ("libkrunfw.so.5", "libkrunfw.so.4")
_FOLDERS = ("/usr/local/lib64", "/usr/local/lib", "/usr/lib64", "/usr/lib")
_WHEEL_PACKAGE = "smol"
_MAX_SIZE = 512 * 1024 * 1024
_MACHINES = {"amd64": ElfMachine.X86_64, "arm64": ElfMachine.AARCH64}
_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
INSTALL_HINT = (
    "pip install 'monocore-vmm-qemu[kernel]', or set the VMM's option kernel to a kernel or to libkrunfw.so.5"
)


@frozen
class Kernel:
    """A kernel that QEMU boots.

    Attributes:
        path: to give to ``-kernel``.
        digest: SHA-256 of it, in hex.
        source: what it was made of.
    """

    path: Path
    digest: str
    source: Path


def find_source(configured: Path | None, architecture: str) -> Path | None:
    """The file that holds the kernel, or None where there is none. Opens nothing.

    A configured path is taken as it is, existing or not.
    """
    if configured is not None:
        return configured
    return next((path for path in _candidates(architecture) if path.is_file()), None)


def prepare(source: Path, architecture: str, cache: Path) -> Kernel:
    """The bootable kernel made of ``source``; made once, then found in ``cache``.

    Raises:
        NotFound: no such file.
        Corrupt: it holds no kernel for ``architecture`` that QEMU could boot.
        StorageError: the cache could not be written.
    """
    try:
        status = source.stat()
    except OSError as error:
        raise NotFound(f"guest kernel {source}: {error.strerror}", hint=INSTALL_HINT) from error
    identity = f"{_FORMAT}:{architecture}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}:{source}"
    link = cache / f"source-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]}"
    made = _linked(link)
    if made is None:
        try:
            made = _make(source, architecture, cache)
            _link(link, made)
        except OSError as error:
            raise StorageError(f"guest kernel in {cache}: {error.strerror}") from error
    return Kernel(path=made, digest=made.stem.removeprefix("kernel-"), source=source)


def store_stub(cache: Path) -> Kernel:
    """What QEMU is given in place of a kernel where it boots none (:func:`~monocore_core.vmmkit.pvh.stub_elf`).

    Raises:
        StorageError: the cache could not be written.
    """
    try:
        made = _store(stub_elf(), cache)
    except OSError as error:
        raise StorageError(f"guest kernel in {cache}: {error.strerror}") from error
    return Kernel(path=made, digest=made.stem.removeprefix("kernel-"), source=made)


def extract(data: bytes, architecture: str, name: str) -> bytes:
    """What QEMU boots, from the bytes of a library or of a kernel. Pure.

    Raises:
        Corrupt: neither, or for another architecture.
    """
    if architecture == "amd64" and data[0x202:0x206] == b"HdrS":
        return data
    if architecture == "arm64" and data[0x38:0x3C] == b"ARM\x64":
        return data
    if data[: len(MAGIC)] != MAGIC:
        raise Corrupt(f"{name}: neither libkrunfw nor a kernel for {architecture}", hint=INSTALL_HINT)
    elf = Elf(data, name)
    if elf.machine != _MACHINES.get(architecture):
        raise Corrupt(f"{name}: made for another architecture than {architecture}", hint=INSTALL_HINT)
    if elf.type == ElfType.EXECUTABLE:
        return data
    bundle = elf.symbol("KERNEL_BUNDLE")
    if bundle is None:
        raise Corrupt(f"{name}: a library without a kernel in it", hint=INSTALL_HINT)
    image = bundle[:-1]  # the bundle is a C string: a zero follows the image
    return pvh_elf(image, name) if architecture == "amd64" else image


def _candidates(architecture: str) -> Iterator[Path]:
    folders = [f"/usr/lib/{_TRIPLETS[architecture]}"] if architecture in _TRIPLETS else []
    for name in _NAMES:
        for folder in (*folders, *_FOLDERS):
            yield Path(folder, name)
    spec = find_spec(_WHEEL_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for name in _NAMES:
            yield Path(location, name)


def _linked(link: Path) -> Path | None:
    try:
        target = link.parent / link.readlink()
        return target if target.stat().st_size else None
    except OSError:
        return None


def _make(source: Path, architecture: str, cache: Path) -> Path:
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not 0 < size <= _MAX_SIZE:
            raise Corrupt(f"{source}: {size} bytes are no kernel")
        content = extract(file.read(size), architecture, str(source))
    return _store(content, cache)


def _store(content: bytes, cache: Path) -> Path:
    """Write under the content's digest, so that what lies there is whole and never changes."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = cache / f"kernel-{hashlib.sha256(content).hexdigest()}.elf"
    if target.is_file() and target.stat().st_size == len(content):
        return target
    descriptor, temporary = tempfile.mkstemp(prefix=".kernel-", dir=cache)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _link(link: Path, target: Path) -> None:
    """Point ``link`` at ``target``, whatever else does so at the same time, in this process or another."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(8)}")
    temporary.symlink_to(target.name)
    try:
        temporary.replace(link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
