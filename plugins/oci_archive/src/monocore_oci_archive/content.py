"""What an opened place offers, whatever its format. Methods run in threads, several at once, and keep nothing of a cancelled one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from attrs import field, frozen

from monocore_core.model.digest import Digest
from monocore_core.model.oci import Descriptor, Manifest, Platform
from monocore_oci_archive.members import Piece
from monocore_oci_archive.places import Place
from monocore_oci_archive.stopping import Stop

#: Images of a place whose documents are read to tell their platforms; those of the others are not known.
MAX_LOOKS = 64


@frozen
class Listed:
    """One image of a place: its names, and its platforms where they are known."""

    names: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()


@frozen
class Found:
    """One image's documents, and where its blobs are.

    Attributes:
        digest: of ``data``.
        manifest: parsed.
        data: the manifest's bytes.
        platform: that an index gave for it.
        members: names of the blobs that are not stored under their digest.
        inline: blobs that are in memory.
    """

    digest: Digest
    manifest: Manifest
    data: bytes
    platform: Platform | None = None
    members: Mapping[Digest, str] = field(factory=dict[Digest, str])
    inline: Mapping[Digest, bytes] = field(factory=dict[Digest, bytes])


class Content(Protocol):
    """An opened archive or folder."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of it."""
        ...

    def held(self, stop: Stop) -> tuple[Listed, ...]:
        """Each image, in order."""
        ...

    def resolve(self, place: Place, platform: Platform, stop: Stop) -> Found:
        """The image that ``place`` wants; errors as of :meth:`~monocore_core.interfaces.image_source.ImageSource.resolve`."""
        ...

    def open(self, found: Found, descriptor: Descriptor) -> AbstractContextManager[Piece]:
        """A blob that is not inline.

        Raises:
            NotFound: it is not there.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
