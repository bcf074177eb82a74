"""The table of routes that are entries (:mod:`.routing`)."""

from __future__ import annotations

from typing import Final

from monocore_core.server import creation, files, images, kept, oneshot, original
from monocore_core.server.routing import Entry

ENTRIES: Final[tuple[Entry, ...]] = (
    *creation.ENTRIES,
    *files.ENTRIES,
    *oneshot.ENTRIES,
    *images.ENTRIES,
    *kept.ENTRIES,
    *original.ENTRIES,
)
