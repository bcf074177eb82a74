"""Images out of the store, as one OCI archive (image-spec v1.1 ``image-layout.md`` in a tar) that is a docker-save archive, too.

Configurations are written exactly as they came, so that an image keeps its id. Layers are written as the store keeps them, uncompressed
under their diff IDs, or compressed anew; unless that is how they came, a manifest is made for them. The same images give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import BinaryIO

from attrs import define, evolve, field, frozen

from monocore_core.errors import Corrupt
from monocore_core.layertar import END, Entry, EntryKind, entry_header, padding
from monocore_core.model.digest import Digest
from monocore_core.model.image import Image, Layer
from monocore_core.model.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, Platform
from monocore_core.ocidoc import parse_manifest
from monocore_core.reference import Reference, parse_reference
from monocore_core.store.atomic import storage_errors
from monocore_core.store.compress import Compression, compressor
from monocore_core.store.facade import Store

_CHUNK = 1024 * 1024
#: Where readers look for an image's name: containerd and Docker, then podman and skopeo.
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@frozen
class Chosen:
    """An image to write, and the names to give it in the archive, possibly none."""

    image: Image
    names: tuple[Reference, ...] = ()


@frozen
class _Blob:
    """Bytes in memory or in an open file."""

    size: int
    data: bytes = b""
    fd: int = -1


@frozen
class _Packed:
    """One image's documents."""

    manifest: Descriptor
    config: Digest
    layers: tuple[Digest, ...]
    names: tuple[str, ...]
    platform: Platform


def export_images(
    store: Store, chosen: Sequence[Chosen], sink: BinaryIO, compression: Compression = Compression.NONE
) -> None:
    """Write images to a stream, which need not be seekable. Blocks; holds the images' layers meanwhile.

    Raises:
        NotFound: an image has been removed meanwhile.
        Corrupt: a layer's file is not what it was.
        StorageError: there is no room to compress a layer.
        OSError: the stream cannot be written.
    """
    with ExitStack() as stack:
        for one in chosen:
            stack.enter_context(store.lease(one.image, f"save-{secrets.token_hex(8)}", name="images save"))
        packer = _Packer(store, compression, stack)
        packed = [packer.add(one) for one in _merged(chosen)]
        for name, blob in _members(packed, packer.blobs):
            _write(sink, name, blob)
        sink.write(END)
        sink.flush()


def _merged(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Each image once, with all its names, in the order of the first."""
    found: dict[Digest, Chosen] = {}
    for one in chosen:
        known = found.get(one.image.digest, evolve(one, names=()))
        found[one.image.digest] = evolve(known, names=tuple(dict.fromkeys((*known.names, *one.names))))
    return list(found.values())


@define(eq=False)
class _Packer:
    """Collects blobs; those of compressed layers are in temporary files."""

    store: Store
    compression: Compression
    stack: ExitStack
    blobs: dict[Digest, _Blob] = field(factory=dict[Digest, _Blob])
    _layers: dict[Digest, Descriptor] = field(factory=dict[Digest, Descriptor], init=False)

    def add(self, one: Chosen) -> _Packed:
        body, config = self.store.image_documents(one.image)
        manifest = parse_manifest(body, None)
        if not isinstance(manifest, Manifest):
            raise Corrupt(f"the manifest of image {one.image.digest.short} in the store is an index")
        layers = tuple(self._layer(layer) for layer in one.image.layers)
        if [each.digest for each in manifest.layers] != [each.digest for each in layers]:
            described = evolve(manifest.config, media_type=OCI_CONFIG, annotations={}, urls=(), extra={})
            body = _manifest(described, layers, manifest.annotations)
            manifest = evolve(manifest, media_type=OCI_MANIFEST)
        digest = Digest.of(body)
        self.blobs[digest] = _Blob(len(body), body)
        self.blobs[manifest.config.digest] = _Blob(len(config), config)
        return _Packed(
            Descriptor(manifest.media_type, digest, len(body)),
            manifest.config.digest,
            tuple(each.digest for each in layers),
            tuple(name for reference in one.names if (name := _name(reference))),
            one.image.config.platform,
        )

    def _layer(self, layer: Layer) -> Descriptor:
        known = self._layers.get(layer.diff_id)
        if known is None:
            with storage_errors(f"read layer {layer.diff_id}"):
                fd = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC)
            self.stack.callback(os.close, fd)
            if self.compression is Compression.NONE:
                blob, digest = _Blob(layer.size, fd=fd), layer.diff_id
            else:
                blob, digest = self._compressed(fd, layer)
            self.blobs[digest] = blob
            known = self._layers[layer.diff_id] = Descriptor(self.compression.media_type, digest, blob.size)
        return known

    def _compressed(self, fd: int, layer: Layer) -> tuple[_Blob, Digest]:
        with storage_errors(f"compress layer {layer.diff_id}"):
            made = tempfile.TemporaryFile(dir=self.store.layout.temporaries)  # noqa: SIM115 - the stack closes it
            file = self.stack.enter_context(made)
            stream, hasher, offset = compressor(self.compression), hashlib.sha256(), 0
            more = True
            while more:
                data = os.pread(fd, _CHUNK, offset)
                offset, more = offset + len(data), bool(data)
                out = stream.compress(data) if more else stream.flush()
                hasher.update(out)
                file.write(out)
            file.flush()
            size = file.tell()
        if offset != layer.size:
            raise _changed(f"layer {layer.diff_id}")
        return _Blob(size, fd=file.fileno()), Digest("sha256", hasher.hexdigest())


def _changed(what: str) -> Corrupt:
    return Corrupt(
        f"{what} in the store is not what it was", hint="remove the image and pull it again: monocore rmi"
    )


def _name(reference: Reference) -> str:
    """As an archive gives it: a digest would not be that of the manifest there."""
    return str(evolve(reference, digest=None)) if reference.tag and not reference.scheme else ""


def _members(packed: Sequence[_Packed], blobs: Mapping[Digest, _Blob]) -> Iterator[tuple[str, _Blob]]:
    """Every file of the archive, documents first, so that a reader may decide early."""
    listed = [entry for each in packed for entry in _index_entries(each)]
    index = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    for name, data in (
        ("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index),
        ("manifest.json", _json([_saved(each) for each in packed])),
    ):
        yield name, _Blob(len(data), data)
    for digest in sorted(blobs, key=lambda digest: (blobs[digest].fd >= 0, digest)):
        yield _path(digest), blobs[digest]


def _index_entries(each: _Packed) -> Iterator[dict[str, object]]:
    platform = {"architecture": each.platform.architecture, "os": each.platform.os}
    if each.platform.variant:
        platform["variant"] = each.platform.variant
    for name in each.names or ("",):
        annotations = {"annotations": dict.fromkeys(_NAMES, name)} if name else {}
        yield {**_descriptor(each.manifest), **annotations, "platform": platform}


def _saved(each: _Packed) -> dict[str, object]:
    """What docker before 25 looks for."""
    names = [parse_reference(name).familiar for name in each.names]
    return {
        "Config": _path(each.config),
        "RepoTags": names or None,
        "Layers": [_path(layer) for layer in each.layers],
    }


def _manifest(config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str]) -> bytes:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return _json(document)


def _descriptor(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _write(sink: BinaryIO, name: str, blob: _Blob) -> None:
    """A member with its data."""
    sink.write(entry_header(Entry(name.encode(), EntryKind.FILE, 0o644, size=blob.size)))
    if blob.fd < 0:
        sink.write(blob.data)
    offset = 0
    while blob.fd >= 0 and offset < blob.size:
        data = os.pread(blob.fd, min(_CHUNK, blob.size - offset), offset)
        if not data:
            raise _changed(name)
        sink.write(data)
        offset += len(data)
    sink.write(padding(blob.size))
