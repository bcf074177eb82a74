"""``docker save`` archives (moby ``image/spec/v1.2.md``): a list of images that names configurations and layer tars by path.

They have no manifests. One is made: a layer that is not compressed has its diff ID for a digest, which its configuration says; others
are hashed.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager

from attrs import define, frozen

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, MonocoreError, NotFound, Unsupported
from monocore_core.inflate.archives import MAGIC_LENGTH, compression_of
from monocore_core.model.digest import Digest
from monocore_core.model.oci import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_LAYER_TAR,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)
from monocore_core.ocidoc import MAX_LAYERS, MAX_MANIFESTS, document, parse_config
from monocore_oci_archive.content import MAX_LOOKS, Found, Listed
from monocore_oci_archive.members import Members, Piece, checked_number, hash_piece, read_document
from monocore_oci_archive.places import Place
from monocore_oci_archive.stopping import Stop

LIST = "manifest.json"
#: Bytes of one image's compressed layers, which must be hashed before anything else.
MAX_HASHED = 64 * 1024**3
_LAYERS = {"": OCI_LAYER_TAR, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


@frozen
class Saved:
    """One entry of the list."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


@define(eq=False)
class DockerSaveContent:
    """Implements :class:`~monocore_oci_archive.content.Content`."""

    members: Members
    images: tuple[Saved, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, members: Members) -> DockerSaveContent:
        """Read the list.

        Raises:
            Corrupt, LimitExceeded: malformed.
        """
        try:
            return cls(members, parse_list(read_document(members, LIST)))
        except (Corrupt, LimitExceeded) as error:
            raise type(error)(f"{members.what}: {error.brief}", hint=error.hint) from error

    def held(self, stop: Stop) -> tuple[Listed, ...]:
        """See the protocol."""
        known: dict[str, tuple[Platform, ...]] = {}
        for image in self.images:
            if image.config not in known and len(known) < MAX_LOOKS:
                stop.check()
                known[image.config] = self._platforms(image)
        return tuple(Listed(image.names, known.get(image.config, ())) for image in self.images)

    def resolve(self, place: Place, platform: Platform, stop: Stop) -> Found:
        """See the protocol. Such an image is for one platform, which its configuration says."""
        del platform
        image = self._pick(place)
        what = self.members.what
        try:
            config = read_document(self.members, image.config)
            diff_ids = parse_config(config).diff_ids
        except (Corrupt, Unsupported, LimitExceeded) as error:
            raise type(error)(f"{what}: {image.config}: {error.brief}", hint=error.hint) from error
        if len(diff_ids) != len(image.layers):
            raise Corrupt(
                f"{what}: its manifest.json has {len(image.layers)} layers for {image.config}, "
                f"which has {len(diff_ids)}"
            )
        layers = self._layers(image, diff_ids, stop)
        described = Descriptor(OCI_CONFIG, Digest.of(config), len(config))
        data = manifest_bytes(described, layers)
        members = {layer.digest: name for layer, name in zip(layers, image.layers, strict=True)}
        members[described.digest] = image.config
        return Found(Digest.of(data), Manifest(OCI_MANIFEST, described, layers), data, None, members)

    def open(self, found: Found, descriptor: Descriptor) -> AbstractContextManager[Piece]:
        """See the protocol."""
        name = found.members.get(descriptor.digest)
        if name is None:
            raise NotFound(f"{self.members.what} has no blob {descriptor.digest}")
        return self.members.open(name)

    def close(self) -> None:
        """See the protocol."""
        self.members.close()

    def _layers(self, image: Saved, diff_ids: tuple[Digest, ...], stop: Stop) -> tuple[Descriptor, ...]:
        found: list[Descriptor] = []
        hashed = 0
        for name, diff_id in zip(image.layers, diff_ids, strict=True):
            found.append(self._layer(name, diff_id, stop))
            hashed += found[-1].size if found[-1].digest != diff_id else 0
            if hashed > MAX_HASHED:
                raise LimitExceeded(
                    f"{self.members.what} has more than {MAX_HASHED} bytes of compressed layers"
                )
        return tuple(found)

    def _layer(self, name: str, diff_id: Digest, stop: Stop) -> Descriptor:
        what = f"{self.members.what}: layer {name}"
        with self.members.open(name) as piece:
            compression = compression_of(piece.read(0, MAGIC_LENGTH))
            if compression not in _LAYERS:
                raise Unsupported(f"{what} is compressed with {compression}, which layers are not")
            digest = hash_piece(piece, what, stop) if compression else diff_id
            return Descriptor(_LAYERS[compression], digest, piece.size)

    def _platforms(self, image: Saved) -> tuple[Platform, ...]:
        try:
            return (parse_config(read_document(self.members, image.config)).platform,)
        except MonocoreError:  # resolving it says why
            return ()

    def _pick(self, place: Place) -> Saved:
        what, images = self.members.what, self.images
        if (number := place.number) is not None:
            return images[checked_number(number, len(images), what)]
        if place.wanted:
            for image in images:
                if place.fits(image.names):
                    return image
            raise NotFound(f"{what} has no image {place.wanted!r}", hint=f"it has {self._listed()}")
        if not images:
            raise NotFound(f"{what} has no image")
        first, *others = images
        if others:
            raise InvalidInput(
                f"{what} has {len(images)} images", hint=f"write one behind a colon: {self._listed()}"
            )
        return first

    def _listed(self) -> str:
        names = [image.names[0] if image.names else f"@{number}" for number, image in enumerate(self.images)]
        return ", ".join(names[:10]) or "none"


def parse_list(data: bytes) -> tuple[Saved, ...]:
    """The entries of ``manifest.json``.

    Raises:
        Corrupt: malformed; LimitExceeded: too many entries or layers.
    """
    root = document.load(b'{"manifest.json":' + data + b"}", LIST)
    listed = document.items(root, LIST, "archive", MAX_MANIFESTS)
    if listed is None or len(root) != 1:
        raise Corrupt("its manifest.json is not a list")
    found: list[Saved] = []
    for number, item in enumerate(document.entries(listed, LIST)):
        where = f"{LIST}[{number}]"
        config = document.text(item, "Config", where)
        layers = document.words(item, "Layers", where) or ()
        if not config:
            raise Corrupt(f"{where}.Config is missing")
        if len(layers) > MAX_LAYERS:
            raise LimitExceeded(f"{where}.Layers has {len(layers)} entries, more than {MAX_LAYERS}")
        found.append(Saved(config, layers, document.words(item, "RepoTags", where) or ()))
    return tuple(found)


def manifest_bytes(config: Descriptor, layers: tuple[Descriptor, ...]) -> bytes:
    """A manifest; the same descriptors give the same bytes."""
    written = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _written(config),
        "layers": [_written(layer) for layer in layers],
    }
    return json.dumps(written, separators=(",", ":")).encode()


def _written(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
