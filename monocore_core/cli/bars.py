"""The bars of a pull on a terminal: bytes, speed and time left, one bar a layer. Imports rich, hence a module of its own."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from monocore_core.model.digest import Digest
from monocore_core.model.events import LayerDone, LayerProgress, Resolved


class Bars:
    """Draws on standard error from ``begin`` to ``close``."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(stderr=True, highlight=False),
            expand=True,
        )
        self._tasks: dict[Digest, TaskID] = {}
        self._totals: dict[Digest, int] = {}

    def begin(self, event: Resolved) -> None:
        """A bar for each layer, in the image's order."""
        self._bars.start()
        for digest, size in event.layers:
            if digest not in self._tasks:
                self._totals[digest] = size
                self._tasks[digest] = self._bars.add_task(digest.short, total=max(size, 1))

    def progress(self, event: LayerProgress) -> None:
        """Move a layer's bar."""
        if event.digest in self._tasks:
            self._bars.update(self._tasks[event.digest], completed=event.received)

    def done(self, event: LayerDone) -> None:
        """Fill a layer's bar."""
        if event.digest in self._tasks:
            note = "  already here" if event.existed else ""
            self._bars.update(
                self._tasks[event.digest],
                completed=max(self._totals[event.digest], 1),
                description=f"{event.digest.short}{note}",
            )

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text, markup=False)

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()
