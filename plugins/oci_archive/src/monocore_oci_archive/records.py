"""What places were found to hold, kept in the cache, so that what has not changed is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import cast

from attrs import frozen

from monocore_core.errors import MonocoreError
from monocore_core.interfaces.image_source import MAX_DOCUMENT, ResolvedImage
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Index, Platform
from monocore_core.ocidoc import parse_manifest
from monocore_core.reference import Reference
from monocore_oci_archive.inputs import Fingerprint

#: Records that are kept; a few hundred bytes each, seldom more.
MAX_RECORDS = 256
#: Of the records' form, and of whatever decides which manifest a place's files become.
VERSION = 1


@frozen
class Records:
    """One folder of them. A record that is missing, damaged or of another version is no record."""

    folder: Path

    def recall(self, reference: Reference, platform: Platform, now: Fingerprint) -> ResolvedImage | None:
        """What was found there when it looked as it does now."""
        path = self._path(reference, platform)
        try:
            if path.stat().st_size > 2 * MAX_DOCUMENT:
                return None
            record: object = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        return _image(reference, cast("dict[str, object]", record), now)

    def remember(self, image: ResolvedImage, platform: Platform, seen: Fingerprint) -> None:
        """Keep it; a cache that cannot be written is no error."""
        path = self._path(image.reference, platform)
        record = {
            "version": VERSION,
            "fingerprint": seen.text,
            "manifest": image.manifest_bytes.decode(),
            "digest": str(image.digest),
            "platform": str(image.platform) if image.platform else None,
        }
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            try:
                temporary.write_text(json.dumps(record))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._prune()

    def _path(self, reference: Reference, platform: Platform) -> Path:
        return self.folder / hashlib.sha256(os.fsencode(f"{reference}\0{platform}")).hexdigest()

    def _prune(self) -> None:
        """Remove the oldest, and what a crash left."""
        with os.scandir(self.folder) as entries:
            files = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
        for _, path in files[:-MAX_RECORDS]:
            Path(path).unlink(missing_ok=True)


def _image(reference: Reference, record: dict[str, object], now: Fingerprint) -> ResolvedImage | None:
    data, digest, platform = record.get("manifest"), record.get("digest"), record.get("platform")
    if (record.get("version"), record.get("fingerprint")) != (VERSION, now.text) or not now.text:
        return None
    if not isinstance(data, str) or not isinstance(digest, str):
        return None
    try:
        wanted, body = Digest.parse(digest), data.encode()
        manifest = parse_manifest(body, None)
        told = Platform.parse(platform) if isinstance(platform, str) else None
    except MonocoreError:
        return None
    if isinstance(manifest, Index) or Digest.of(body, wanted.algorithm) != wanted:
        return None
    return ResolvedImage(reference, wanted, manifest, body, told)
