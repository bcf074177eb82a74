"""Two ready images: a small Linux that runs, and one of any size to measure with."""

from __future__ import annotations

import random
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from monocore_core.errors import NotFound, Unsupported
from monocore_core.model.oci import Platform
from monocore_core.testing.filespec import FileSpec, directory, file, symlink
from monocore_core.testing.images import BuiltImage, RunConfig, build_image
from monocore_core.testing.packing import Compression, PackedLayer

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POOL = 4 * 1024 * 1024
#: Share of bytes that do not compress; gzip makes about 0.4 of the whole, as of a distribution's image.
_RANDOM_SHARE = 0.36
_PROSE = b"Programs of a distribution compress to about two fifths of their size, and so does this sentence. "
_ELF = b"\x7fELF"
_INTERPRETER = 3
_PROGRAM_HEADERS = 32


def busybox_path() -> Path:
    """The host's static busybox.

    Raises:
        NotFound: there is none; the hint names the Debian package.
        Unsupported: it is linked dynamically and would not start alone.
    """
    hint = "install the Debian package busybox-static"
    found = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    if found is None:
        raise NotFound("busybox is not installed", hint=hint)
    path = Path(found)
    if not _is_static(path.read_bytes()):
        raise Unsupported(f"{path} is linked dynamically", hint=hint)
    return path


def busybox_image(
    *,
    platform: Platform | None = None,
    run: RunConfig | None = None,
    compression: Compression = "gzip",
    extra: tuple[FileSpec, ...] = (),
    above: tuple[Iterable[FileSpec] | PackedLayer, ...] = (),
) -> BuiltImage:
    """A small real Linux of two layers: a static busybox with its applets' links, users and usual folders; then ``extra``.

    Users: root (0), app (1000, groups app and video), nobody (65534). The command is ``/bin/sh``.

    Args:
        platform: claimed by the image; the program is the host's in any case. None: the host's.
        run: None: an interactive shell with the usual PATH.
        compression: of the layers.
        extra: files of a second layer; it also has ``/etc/motd``.
        above: further layers.

    Raises:
        NotFound, Unsupported: no static busybox on this host.
    """
    second = (file("etc/motd", b"monocore test image\n"), *extra)
    return build_image(
        [list(_root(busybox_path())), list(second), *above],
        run=run or RunConfig(cmd=("/bin/sh",), env=(f"PATH={PATH}",)),
        platform=platform or Platform.host(),
        compression=compression,
    )


def synthetic_image(
    folder: Path,
    *,
    size: int = 500_000_000,
    files: int = 10_000,
    layers: int = 4,
    seed: int = 0,
    compression: Compression = "gzip",
    platform: Platform | None = None,
) -> BuiltImage:
    """An image to measure with, streamed into ``folder``: deterministic, as compressible as real ones, sizes log-normal.

    Args:
        folder: where the compressed layers are written.
        size: bytes of all files, about.
        files: regular files over all layers.
        layers: at least 1.
        seed: other seeds give other bytes.
        compression: of the layers.
        platform: None: the host's.
    """
    return build_image(
        (_synthetic(seed * 1000 + layer, layer, size // layers, files // layers) for layer in range(layers)),
        run=RunConfig(cmd=("/bin/true",)),
        platform=platform or Platform.host(),
        compression=compression,
        folder=folder,
    )


def _synthetic(seed: int, layer: int, size: int, files: int) -> Iterator[FileSpec]:
    chance = random.Random(seed)  # noqa: S311 - repeatable bytes, not secrets
    pool = chance.randbytes(_POOL)
    prose = _PROSE * (_POOL // len(_PROSE) + 1)
    weights = [chance.lognormvariate(0, 1.2) for _ in range(files)]
    scale = size / sum(weights) if weights else 0
    for number, weight in enumerate(weights):
        parent = f"data/layer{layer:02}/d{number // 40:04}"
        if number % 40 == 0:
            yield directory(parent)
        length = int(weight * scale)
        noise = int(length * _RANDOM_SHARE)
        yield file(f"{parent}/f{number:06}", _cut(pool, noise, chance) + _cut(prose, length - noise, chance))


def _cut(pool: bytes, length: int, chance: random.Random) -> bytes:
    start = chance.randrange(len(pool))
    if start + length <= len(pool):
        return pool[start : start + length]
    return (pool[start:] + pool * (length // len(pool) + 1))[:length]


def _root(busybox: Path) -> Iterator[FileSpec]:
    for name in (
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "run",
        "sbin",
        "sys",
        "usr",
        "usr/bin",
        "usr/sbin",
        "var",
    ):
        yield directory(name)
    yield directory("root", 0o700)
    yield directory("home/app", uid=1000, gid=1000)
    yield directory("tmp", 0o777 | stat.S_ISVTX)
    yield directory("var/tmp", 0o777 | stat.S_ISVTX)
    yield file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in _applets(busybox):
        yield symlink(applet, "/bin/busybox")
    yield from _etc()


def _applets(busybox: Path) -> list[str]:
    """Paths such as ``usr/bin/env``, as the program itself lists them."""
    done = subprocess.run(
        [str(busybox), "--list-full"], capture_output=True, text=True, check=True, timeout=10
    )
    folders = ("bin", "sbin", "usr/bin", "usr/sbin")
    return [
        line for line in done.stdout.split() if line != "bin/busybox" and line.rpartition("/")[0] in folders
    ]


def _etc() -> Iterator[FileSpec]:
    yield file(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\n"
        b"app:x:1000:1000:app:/home/app:/bin/sh\n"
        b"nobody:x:65534:65534:nobody:/:/bin/false\n",
    )
    yield file("etc/group", b"root:x:0:\nvideo:x:44:app\napp:x:1000:\nnogroup:x:65534:\n")
    yield file(
        "etc/os-release", b'ID=monocore-test\nNAME="monocore test image"\nPRETTY_NAME="monocore test image"\n'
    )
    yield file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")


def _is_static(data: bytes) -> bool:
    """Whether a 64-bit little-endian ELF program names no interpreter (elf(5), PT_INTERP)."""
    if data[:4] != _ELF or len(data) < 64:
        return False
    offset = int.from_bytes(data[_PROGRAM_HEADERS : _PROGRAM_HEADERS + 8], "little")
    size, count = int.from_bytes(data[54:56], "little"), int.from_bytes(data[56:58], "little")
    kinds = [int.from_bytes(data[offset + i * size : offset + i * size + 4], "little") for i in range(count)]
    return _INTERPRETER not in kinds
