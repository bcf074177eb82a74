"""OCI image layouts (image-spec v1.1, ``image-layout.md``), in a folder or a tar; Docker's own archives have been such since Docker 25."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from attrs import define, frozen

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded, MonocoreError, NotFound, Unsupported
from monocore_core.model.digest import Digest
from monocore_core.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    Descriptor,
    Index,
    Platform,
)
from monocore_core.ocidoc import document, parse_config, parse_manifest, select_platform
from monocore_oci_archive.content import MAX_LOOKS, Found, Listed
from monocore_oci_archive.members import Members, Piece, checked_number, read_document
from monocore_oci_archive.places import Place
from monocore_oci_archive.stopping import Stop

#: Where layouts say what an image is called: containerd's and Docker's whole name, then the specification's, which may be a tag.
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
MARKER, INDEX = "oci-layout", "index.json"
#: Indexes inside indexes.
MAX_DEPTH = 4
#: Names of images in a message.
_SHOWN = 10
_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")


@frozen
class Group:
    """One image as a layout lists it: several manifests where they are for several platforms."""

    names: tuple[str, ...]
    manifests: tuple[Descriptor, ...]


@define(eq=False)
class LayoutContent:
    """Implements :class:`~monocore_oci_archive.content.Content`."""

    members: Members
    groups: tuple[Group, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, members: Members) -> LayoutContent:
        """Read the index.

        Raises:
            Corrupt, Unsupported, LimitExceeded: it is not one that we take.
        """
        what = members.what
        try:
            version = document.text(
                document.load(read_document(members, MARKER), MARKER), "imageLayoutVersion", MARKER
            )
            index = parse_manifest(read_document(members, INDEX), OCI_INDEX)
        except (Corrupt, Unsupported, LimitExceeded) as error:
            raise type(error)(f"{what}: {error.brief}", hint=error.hint) from error
        if version.partition(".")[0] != "1":
            raise Unsupported(f"{what} is an OCI layout of version {version[:40]!r}, not 1")
        if not isinstance(index, Index):
            raise Corrupt(f"{what}: its index.json is no index")
        return cls(members, group(index.manifests))

    def held(self, stop: Stop) -> tuple[Listed, ...]:
        """See the protocol."""
        known: dict[Digest, tuple[Platform, ...]] = {}
        found: list[Listed] = []
        for each in self.groups:
            said = tuple(item.platform for item in each.manifests if item.platform is not None)
            only = each.manifests[0].digest
            if not said and only not in known and len(known) < MAX_LOOKS:
                stop.check()
                known[only] = self._platforms(each.manifests[0])
            found.append(Listed(each.names, said or known.get(only, ())))
        return tuple(found)

    def resolve(self, place: Place, platform: Platform, stop: Stop) -> Found:
        """See the protocol."""
        chosen, told = self._choose(place, platform)
        for _ in range(MAX_DEPTH):
            stop.check()
            data = self._verified(chosen)
            try:
                parsed = parse_manifest(data, chosen.media_type)
                if not isinstance(parsed, Index):
                    return Found(chosen.digest, parsed, data, told)
                chosen = select_platform(parsed, platform)
            except (Corrupt, Unsupported, NotFound, LimitExceeded) as error:
                raise type(error)(f"{self.members.what}: {error.brief}", hint=error.hint) from error
            told = chosen.platform or told
        raise LimitExceeded(f"{self.members.what}: its indexes are nested more than {MAX_DEPTH} deep")

    def open(self, found: Found, descriptor: Descriptor) -> AbstractContextManager[Piece]:
        """See the protocol."""
        del found
        return self.members.open(_blob(descriptor.digest))

    def close(self) -> None:
        """See the protocol."""
        self.members.close()

    def _choose(self, place: Place, platform: Platform) -> tuple[Descriptor, Platform | None]:
        wanted = pick(self.groups, place, self.members.what).manifests
        if len(wanted) == 1:
            return wanted[0], wanted[0].platform
        chosen = select_platform(Index(OCI_INDEX, wanted), platform)
        return chosen, chosen.platform

    def _platforms(self, descriptor: Descriptor) -> tuple[Platform, ...]:
        """What a manifest without one leads to."""
        try:
            parsed = parse_manifest(self._verified(descriptor), descriptor.media_type)
            if isinstance(parsed, Index):
                listed = (item.platform for item in parsed.manifests if _is_image(item))
                return tuple(platform for platform in listed if platform is not None)
            return (parse_config(read_document(self.members, _blob(parsed.config.digest))).platform,)
        except MonocoreError:  # resolving it says why
            return ()

    def _verified(self, descriptor: Descriptor) -> bytes:
        what, name = self.members.what, _blob(descriptor.digest)
        try:
            data = read_document(self.members, name)
        except NotFound as error:
            raise NotFound(
                f"{what} names manifest {descriptor.digest} but does not have it",
                hint="it may hold other platforms' images only: see --platform",
            ) from error
        if len(data) != descriptor.size or Digest.of(data, descriptor.digest.algorithm) != descriptor.digest:
            raise Corrupt(f"{what}: its manifest {descriptor.digest} is not what its name says")
        return data


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def is_layout(members: Members) -> bool:
    """Whether both files are there that make a layout."""
    with suppress(NotFound), members.open(MARKER), members.open(INDEX):
        return True
    return False


def group(manifests: Sequence[Descriptor]) -> tuple[Group, ...]:
    """The images that an index lists: manifests of one name, or without names but each with its platform, are one image."""
    found: dict[tuple[str, ...], list[Descriptor]] = {}
    for number, item in enumerate(manifests):
        if not _is_image(item):
            continue
        names = tuple(dict.fromkeys(item.annotations[key] for key in NAMES if item.annotations.get(key)))
        several = names or item.platform is not None
        found.setdefault(names if several else ("", str(number)), []).append(item)
    return tuple(Group(() if names[:1] == ("",) else names, tuple(items)) for names, items in found.items())


def pick(groups: Sequence[Group], place: Place, what: str) -> Group:
    """The image that is wanted.

    Raises:
        NotFound: none is called so, or there is none at all.
        InvalidInput: no name was given, and there are several; or a number beyond them.
    """
    if (number := place.number) is not None:
        return groups[checked_number(number, len(groups), what)]
    if place.wanted:
        for each in groups:
            if place.fits(each.names):
                return each
        raise NotFound(f"{what} has no image {place.wanted!r}", hint=f"it has {_listed(groups)}")
    if not groups:
        raise NotFound(f"{what} has no image")
    if not _same(groups):
        raise InvalidInput(
            f"{what} has {len(groups)} images", hint=f"write one behind a colon: {_listed(groups)}"
        )
    return groups[0]


def _same(groups: Sequence[Group]) -> bool:
    """Whether all are one image under several names."""
    return len({tuple(item.digest for item in each.manifests) for each in groups}) == 1


def _listed(groups: Sequence[Group]) -> str:
    names = [each.names[0] if each.names else f"@{number}" for number, each in enumerate(groups)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def _is_image(item: Descriptor) -> bool:
    key, value = _ATTESTATION
    return item.media_type in MANIFEST_TYPES | INDEX_TYPES and item.annotations.get(key) != value
