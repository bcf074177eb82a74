"""The table of routes that are entries (:mod:`.routing`)."""

from __future__ import annotations

from typing import Final

from monocore_core.server import (
    creation,
    describing,
    dial,
    files,
    images,
    kept,
    oneshot,
    original,
    pausing,
    system,
)
from monocore_core.server.routing import Entry

ENTRIES: Final[tuple[Entry, ...]] = (
    *creation.ENTRIES,
    *dial.ENTRIES,
    *files.ENTRIES,
    *oneshot.ENTRIES,
    *images.ENTRIES,
    *kept.ENTRIES,
    *pausing.ENTRIES,
    *original.ENTRIES,
    *describing.ENTRIES,
    Entry("GET", "/metrics", system.metrics),  # where Prometheus looks
)
