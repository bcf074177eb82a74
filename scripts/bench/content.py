"""Images to measure with: deterministic, as compressible as real ones, written once as an OCI layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from attrs import asdict, frozen

MIB = 1024 * 1024
#: Share of bytes that do not compress; gives about 0.38 of the size under gzip, as Debian's images do.
_RANDOM_SHARE = 0.36
_APPLETS = (
    "cat",
    "date",
    "echo",
    "env",
    "false",
    "free",
    "head",
    "hostname",
    "id",
    "ls",
    "mount",
    "nproc",
    "ps",
    "sh",
    "sleep",
    "tail",
    "true",
    "uname",
    "wc",
)
_WORDS = (
    b"the quick brown fox jumps over the lazy dog; lorem ipsum dolor sit amet, consectetur adipiscing elit. "
)


@frozen
class Content:
    """What an image holds.

    Attributes:
        size: bytes of all files, uncompressed.
        files: how many regular files.
        layers: over how many layers they are spread; each but the first also replaces and deletes some files.
        busybox: whether ``/bin/busybox`` and its usual links are in the first layer.
    """

    size: int
    files: int
    layers: int
    busybox: bool = False


@frozen
class Layout:
    """An OCI image layout on disk, and its layers uncompressed beside it.

    Attributes:
        path: the layout's folder.
        blobs: compressed layers, lowest first.
        tars: the same, uncompressed.
    """

    path: Path
    blobs: tuple[Path, ...]
    tars: tuple[Path, ...]


def layout(content: Content, cache: Path) -> Layout:
    """The image, made the first time and found later."""
    key = hashlib.sha256(json.dumps([asdict(content), _RANDOM_SHARE, 4]).encode()).hexdigest()[:16]
    target = cache / f"image-{key}"
    if not (target / "index.json").exists():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _write(content, partial)
        partial.rename(target)
    manifest = json.loads((target / "manifest.json").read_bytes())
    digests = [layer["digest"].partition(":")[2] for layer in manifest["layers"]]
    count = range(len(digests))
    return Layout(
        target,
        tuple(target / "blobs" / "sha256" / digest for digest in digests),
        tuple(target / f"layer-{index}.tar" for index in count),
    )


def _write(content: Content, folder: Path) -> None:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers: list[dict[str, object]] = []
    diff_ids: list[str] = []
    for index in range(content.layers):
        tar = folder / f"layer-{index}.tar"
        with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
            for info, data in _entries(content, index):
                archive.addfile(info, io.BytesIO(data))
        diff_ids.append(f"sha256:{_digest(tar)}")
        packed = folder / "packed"
        with tar.open("rb") as source, gzip.GzipFile(packed, "wb", compresslevel=6, mtime=0) as sink:
            shutil.copyfileobj(source, sink, MIB)
        layers.append(_adopt(packed, blobs, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = _put(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        },
        blobs,
        "application/vnd.oci.image.config.v1+json",
    )
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    }
    manifest = _put(document, blobs, "application/vnd.oci.image.manifest.v1+json")
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    tagged = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [tagged]}))


def _entries(content: Content, layer: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """One layer: its share of the files, in folders of forty, then what it takes away from the layer below."""
    chance = random.Random(layer)  # noqa: S311 - repeatable bytes, not secrets
    pool = chance.randbytes(4 * MIB)
    text = _WORDS * (4 * MIB // len(_WORDS))
    if layer == 0 and content.busybox:
        yield from _busybox()
    count = content.files // content.layers
    weights = [chance.lognormvariate(0, 1.2) for _ in range(count)]
    scale = content.size / content.layers / sum(weights)
    for number in range(count):
        if number % 40 == 0:
            yield _directory(f"data/layer{layer}/d{number // 40:04}"), b""
        size = min(int(weights[number] * scale), 4 * MIB)
        split = int(size * _RANDOM_SHARE)
        first, second = chance.randrange(4 * MIB - split), chance.randrange(4 * MIB)
        data = pool[first : first + split] + (text[second:] + text)[: size - split]
        yield _file(f"data/layer{layer}/d{number // 40:04}/f{number % 40:02}.bin", len(data)), data
    if layer:
        yield _file(f"data/layer{layer - 1}/d0000/.wh.f01.bin", 0), b""
        yield _file(f"data/layer{layer - 1}/d0001/.wh..wh..opq", 0), b""
        yield _file(f"data/layer{layer - 1}/d0002/f03.bin", 9), b"replaced\n"


def _busybox() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    found = shutil.which("busybox")
    if found is None:
        raise FileNotFoundError("busybox is not installed (Debian package busybox-static)")
    data = Path(found).read_bytes()
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        yield _directory(name), b""
    yield _file("bin/busybox", len(data), 0o755), data
    for applet in _APPLETS:
        link = tarfile.TarInfo(f"bin/{applet}")
        link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
        yield link, b""


def _directory(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def _file(name: str, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    return info


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _adopt(path: Path, blobs: Path, media_type: str) -> dict[str, object]:
    """Move a file to where its digest says; its descriptor."""
    digest, size = _digest(path), path.stat().st_size
    path.rename(blobs / digest)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _put(document: object, blobs: Path, media_type: str) -> dict[str, object]:
    path = blobs / "document"
    path.write_text(json.dumps(document))
    return _adopt(path, blobs, media_type)
