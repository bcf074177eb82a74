"""Every route of the application. What is not here is not served."""

from __future__ import annotations

from typing import Final

from monocore_core.model.access import Scope
from monocore_core.server import (
    attach,
    checkpoints,
    committing,
    creation,
    dashboard,
    describing,
    dial,
    files,
    forking,
    images,
    inside,
    kept,
    live,
    oneshot,
    original,
    pausing,
    projects,
    sandboxes,
    system,
)
from monocore_core.server.routing import Entry

ENTRIES: Final[tuple[Entry, ...]] = (
    *system.ROUTES.entries,
    *sandboxes.ROUTES.entries,
    *pausing.ROUTES.entries,
    *committing.ROUTES.entries,
    *forking.ROUTES.entries,
    *checkpoints.ROUTES.entries,
    *inside.ROUTES.entries,
    *projects.ROUTES.entries,
    *attach.ROUTES.entries,
    *creation.ENTRIES,
    *dial.ENTRIES,
    *files.ENTRIES,
    *oneshot.ENTRIES,
    *images.ENTRIES,
    *kept.ENTRIES,
    *original.ENTRIES,
    *describing.ENTRIES,
    *dashboard.ENTRIES,
    *live.ENTRIES,
    Entry("GET", "/metrics", system.metrics, Scope.READ),  # where Prometheus looks
)
