"""A root file system, a folder or a tar, as an image of one layer that says nothing but for which platform it is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, Unsupported
from monocore_core.layertar import read_layer
from monocore_core.model.digest import Digest
from monocore_core.model.oci import OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST, Descriptor, Manifest, Platform
from monocore_oci_archive.content import Found, Listed
from monocore_oci_archive.docker_save import manifest_bytes
from monocore_oci_archive.members import Piece, hash_piece
from monocore_oci_archive.options import ArchiveOptions
from monocore_oci_archive.pack import Packer
from monocore_oci_archive.places import Place
from monocore_oci_archive.stopping import Stop


@define(eq=False)
class RootfsContent:
    """Implements :class:`~monocore_oci_archive.content.Content`."""

    layer: Piece
    digest: Digest
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_folder(cls, path: str, cache: Path, options: ArchiveOptions, stop: Stop) -> RootfsContent:
        """Pack a folder; errors as of :meth:`~monocore_oci_archive.pack.Packer.pack`."""
        packer = Packer(path, cache, options, stop)
        fd, size, digest = packer.pack()
        return cls(Piece(fd, 0, size), digest, tuple(packer.remarks))

    @classmethod
    def of_tar(cls, path: str, fd: int, stop: Stop) -> RootfsContent:
        """Take a tar as it is, uncompressed: ``fd``, which is owned from here on.

        Raises:
            Corrupt, Unsupported, LimitExceeded: it cannot be a layer.
        """
        try:
            _check(path, fd, stop)
            layer = Piece(fd, 0, os.fstat(fd).st_size)
            return cls(layer, hash_piece(layer, path, stop))
        except BaseException:
            os.close(fd)
            raise

    def held(self, stop: Stop) -> tuple[Listed, ...]:
        """See the protocol."""
        del stop
        return (Listed(),)

    def resolve(self, place: Place, platform: Platform, stop: Stop) -> Found:
        """See the protocol. A root does not say what it is for: it is what was asked for."""
        del place, stop
        config = _config(platform, self.digest)
        described = Descriptor(OCI_CONFIG, Digest.of(config), len(config))
        layer = Descriptor(OCI_LAYER_TAR, self.digest, self.layer.size)
        data = manifest_bytes(described, (layer,))
        manifest = Manifest(OCI_MANIFEST, described, (layer,))
        return Found(Digest.of(data), manifest, data, platform, inline={described.digest: config})

    @contextmanager
    def open(self, found: Found, descriptor: Descriptor) -> Generator[Piece]:
        """See the protocol."""
        del found
        if descriptor.digest != self.digest:
            raise NotFound(f"a root file system has no blob {descriptor.digest}")
        yield self.layer

    def close(self) -> None:
        """See the protocol."""
        os.close(self.layer.fd)


def _config(platform: Platform, layer: Digest) -> bytes:
    said = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        said["variant"] = platform.variant
    document = {**said, "config": {}, "rootfs": {"type": "layers", "diff_ids": [str(layer)]}}
    return json.dumps(document, separators=(",", ":")).encode()


def _check(path: str, fd: int, stop: Stop) -> None:
    """Read the headers, so that what is no tar is refused here and by its name."""
    count = 0
    with open(os.dup(fd), "rb") as stream:  # noqa: PTH123 - a descriptor
        try:
            for _ in read_layer(stream):
                stop.check()
                count += 1
        except (Corrupt, LimitExceeded, Unsupported) as error:
            problem = "" if count else "it is no tar archive: "
            raise type(error)(f"{path}: {problem}{error.brief}", hint=error.hint) from error
    if not count:
        raise InvalidInput(f"{path} has nothing in it")
