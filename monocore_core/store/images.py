"""Records of images: which manifest a name means on a platform, and what that image consists of.

An image is *visible* when its record is there and every layer file has its size; a record with a missing layer is treated as absent
until a pull completes it. Identity is the digest of the platform's manifest; a configuration's digest (Docker's image id)
finds it, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from sqlite3 import Connection

from attrs import frozen

from monocore_core.errors import Conflict, InvalidInput, NotFound, StorageError, Unsupported
from monocore_core.model.digest import Digest
from monocore_core.model.image import Image, Layer
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.ocidoc import parse_config
from monocore_core.reference import Reference
from monocore_core.store.database import Database
from monocore_core.store.layout import Layout
from monocore_core.store.leases import live_images

#: A VMM that runs it may be missing.
_TAKE = "--platform {} takes it all the same; 'monocore plan' with that says whether it can run here"
_ID = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{2,128})\Z")


@frozen
class Removed:
    """What a removal did.

    Attributes:
        untagged: names that no longer exist.
        deleted: images that no longer exist.
    """

    untagged: tuple[str, ...] = ()
    deleted: tuple[Digest, ...] = ()


@frozen
class Record:
    """What is written of an image when it is complete."""

    digest: Digest
    manifest: bytes
    config: Digest
    config_bytes: bytes
    root: str
    platform: Platform
    diff_ids: tuple[Digest, ...]
    pulled: float


@frozen
class Images:
    """The records of one home directory."""

    layout: Layout
    database: Database

    def find(self, reference: Reference, platform: Platform) -> Image | None:
        """The visible image that a name, or a digest in it, means on a platform."""
        rows = self.database.query(
            "SELECT image FROM names WHERE reference = ? AND platform = ?", str(reference), str(platform)
        )
        if rows:
            return self.load(Digest.parse(str(rows[0][0])))
        if reference.digest is None:
            return None
        image = self.load(reference.digest)
        return image if image is not None and suits(image.config.platform, platform) else None

    def find_id(self, text: str, platform: Platform) -> Image | None:
        """The visible image with an id that begins with ``text``, which may name the algorithm.

        Raises:
            InvalidInput: several images fit.
            Unsupported: it is for another platform.
        """
        digest = self.match_id(text)
        image = None if digest is None else self.load(digest)
        if image is not None and not suits(image.config.platform, platform):
            raise Unsupported(
                f"image {text} is for {image.config.platform}, not for {platform}",
                hint=_TAKE.format(image.config.platform),
            )
        return image

    def match_id(self, text: str) -> Digest | None:
        """The identity of the one image whose id, or whose configuration's digest, begins with ``text``."""
        match = _ID.match(text)
        if match is None:
            return None
        prefix = f"{match[1] or 'sha256'}:{match[2]}"
        rows = self.database.query(
            "SELECT digest FROM images WHERE substr(digest, 1, ?1) = ?2 OR substr(config, 1, ?1) = ?2 ORDER BY digest",
            len(prefix),
            prefix,
        )
        if len(rows) > 1:
            found = ", ".join(Digest.parse(str(row[0])).short for row in rows[:5])
            raise InvalidInput(
                f"{text!r} is the beginning of {len(rows)} image ids: {found}", hint="give more digits"
            )
        return Digest.parse(str(rows[0][0])) if rows else None

    def load(self, digest: Digest) -> Image | None:
        """The visible image of that manifest."""
        with self.database.snapshot():
            rows = self.database.query(
                "SELECT body, pulled FROM images JOIN documents ON documents.digest = config WHERE images.digest = ?",
                str(digest),
            )
            layers = self._layers(digest)
            names = self.database.query(
                "SELECT DISTINCT reference FROM names WHERE image = ? ORDER BY reference", str(digest)
            )
        if not rows or layers is None:
            return None
        body, pulled = rows[0]
        if not isinstance(body, bytes) or not isinstance(pulled, float):
            return None
        return Image(tuple(str(row[0]) for row in names), digest, parse_config(body), layers, pulled)

    def all(self) -> list[Image]:
        """Every visible image, latest first."""
        rows = self.database.query("SELECT digest FROM images ORDER BY pulled DESC, digest")
        images = (self.load(Digest.parse(str(row[0]))) for row in rows)
        return [image for image in images if image is not None]

    def layer(self, diff_id: Digest) -> Layer | None:
        """A visible layer: recorded, and its file has the recorded size."""
        rows = self.database.query("SELECT size FROM layers WHERE diff_id = ?", str(diff_id))
        return self._checked(diff_id, rows[0][0]) if rows else None

    def documents(self, digest: Digest) -> tuple[bytes, bytes]:
        """Manifest and configuration, exactly as pulled.

        Raises:
            NotFound: there is no such image.
        """
        rows = self.database.query(
            "SELECT m.body, c.body FROM images JOIN documents m ON m.digest = images.digest "
            "JOIN documents c ON c.digest = config WHERE images.digest = ?",
            str(digest),
        )
        if not rows or not isinstance(rows[0][0], bytes) or not isinstance(rows[0][1], bytes):
            raise NotFound(f"image {digest} is not in the store")
        return rows[0][0], rows[0][1]

    def document(self, digest: Digest) -> bytes | None:
        """A manifest or configuration that some image in the store has."""
        rows = self.database.query("SELECT body FROM documents WHERE digest = ?", str(digest))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def name(self, connection: Connection, reference: Reference, platform: Platform, digest: Digest) -> None:
        """Within a transaction: let a name mean an image on a platform, and nothing else any more."""
        connection.execute(
            "INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (str(reference), str(platform), str(digest))
        )

    def record(self, connection: Connection, record: Record) -> None:
        """Within a transaction: make an image visible.

        Raises:
            StorageError: a layer has vanished.
        """
        digest = str(record.digest)
        for document, body in ((record.digest, record.manifest), (record.config, record.config_bytes)):
            connection.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (str(document), body))
        connection.execute("DELETE FROM image_layers WHERE image = ?", (digest,))
        connection.execute(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET pulled = excluded.pulled",
            (digest, str(record.config), record.root, str(record.platform), record.pulled),
        )
        for position, diff_id in enumerate(record.diff_ids):
            row = (digest, position, str(diff_id))
            connection.execute("INSERT INTO image_layers VALUES (?, ?, ?)", row)
            if not connection.execute("SELECT 1 FROM layers WHERE diff_id = ?", (str(diff_id),)).fetchone():
                raise StorageError(
                    f"layer {diff_id} has vanished from the store", hint="pull the image again"
                )

    def remove_name(self, reference: Reference, platform: Platform | None, *, force: bool) -> Removed:
        """Take a name away, and the image with its last name.

        Raises:
            NotFound: no image has it.
            Conflict: a sandbox uses the image of which it is the last name, and ``force`` is not given.
        """
        name = str(reference)
        with self.database.transaction() as connection:
            where, parameters = "reference = ?", [name]
            if platform is not None:
                where, parameters = f"{where} AND platform = ?", [name, str(platform)]
            rows = connection.execute(
                f"SELECT DISTINCT image FROM names WHERE {where}",  # noqa: S608 - one of two literals
                parameters,
            ).fetchall()
            if not rows:
                raise NotFound(f"no image in the store is called {name}", hint="monocore images lists them")
            connection.execute(f"DELETE FROM names WHERE {where}", parameters)  # noqa: S608 - as above
            last = [image for (image,) in rows if not _names(connection, image)]
            self._delete(connection, last, force=force)
        return Removed((name,), tuple(map(Digest.parse, last)))

    def remove_id(self, digest: Digest, *, force: bool) -> Removed:
        """Take an image away with all its names.

        Raises:
            Conflict: it has several names, or a sandbox uses it, and ``force`` is not given.
        """
        with self.database.transaction() as connection:
            names = _names(connection, str(digest))
            if len(names) > 1 and not force:
                raise Conflict(
                    f"image {digest.short} has several names: {', '.join(names)}",
                    hint="remove it by name, or add --force to remove all of them",
                )
            self._delete(connection, [str(digest)], force=force)
        return Removed(tuple(names), (digest,))

    def remove_unused(self, *, named: bool) -> Removed:
        """Take away every image that no sandbox uses and that has no name (``named``: or has one)."""
        with self.database.transaction() as connection:
            used = live_images(connection)
            rows = connection.execute("SELECT digest FROM images").fetchall()
            names = {image: _names(connection, image) for (image,) in rows}
            removable = [image for image in names if image not in used and (named or not names[image])]
            self._delete(connection, removable, force=True)
        untagged = tuple(name for image in removable for name in names[image])
        return Removed(untagged, tuple(map(Digest.parse, removable)))

    def _delete(self, connection: Connection, images: Iterable[str], *, force: bool) -> None:
        used = live_images(connection)
        for image in images:
            if image in used and not force:
                raise Conflict(
                    f"image {Digest.parse(image).short} is used by sandbox {used[image]}",
                    hint="stop the sandbox first, or add --force: its files then go when it ends",
                )
            connection.execute("DELETE FROM names WHERE image = ?", (image,))
            connection.execute("DELETE FROM images WHERE digest = ?", (image,))

    def _layers(self, image: Digest) -> tuple[Layer, ...] | None:
        rows = self.database.query(
            "SELECT image_layers.diff_id, size FROM image_layers LEFT JOIN layers USING (diff_id) "
            "WHERE image = ? ORDER BY position",
            str(image),
        )
        layers = [self._checked(Digest.parse(str(diff_id)), size) for diff_id, size in rows]
        complete = [layer for layer in layers if layer is not None]
        return tuple(complete) if len(complete) == len(layers) else None

    def _checked(self, diff_id: Digest, size: object) -> Layer | None:
        path = self.layout.layer(diff_id)
        try:
            actual = path.stat().st_size
        except OSError:
            return None
        return Layer(diff_id, path, actual) if actual == size else None


def suits(offered: Platform, wanted: Platform) -> bool:
    """Whether an image of one platform is what was wanted; a variant that one side leaves out fits."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return False
    return not (offered.variant and wanted.variant) or offered.variant == wanted.variant


def check_platform(config: ImageConfig, wanted: Platform, what: str) -> None:
    """Refuse an image for another platform.

    Raises:
        Unsupported: it is.
    """
    if not suits(config.platform, wanted):
        raise Unsupported(
            f"{what} is for {config.platform}, not for {wanted}", hint=_TAKE.format(config.platform)
        )


def looks_like_id(text: str) -> bool:
    """Whether a text could be the beginning of an image id."""
    return _ID.match(text) is not None


def resolve(
    images: Images, image: str | Reference, platform: Platform, parse: Callable[[str], Reference]
) -> Image | None:
    """The visible image that a person means: by name first, then by id.

    Raises:
        InvalidInput: neither a reference nor an id, or the beginning of several ids.
        Unsupported: the id is of an image for another platform.
    """
    if isinstance(image, Reference):
        return images.find(image, platform)
    if not (looks_like_id(image) and ":" in image):
        try:
            reference = parse(image)
        except InvalidInput:
            if not looks_like_id(image):
                raise
        else:
            found = images.find(reference, platform)
            if found is not None:
                return found
    return images.find_id(image, platform) if looks_like_id(image) else None


def _names(connection: Connection, image: str) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT reference FROM names WHERE image = ? ORDER BY reference", (image,)
    ).fetchall()
    return [str(row[0]) for row in rows]
