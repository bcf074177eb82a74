"""The lines of an operation that tells what it does, to its result. Pure."""

from __future__ import annotations

from collections.abc import Callable

from monocore_core.client.api import problem
from monocore_core.client.tables import Table, inner, table
from monocore_core.errors import MonocoreError, Unreachable


class Lines:
    """What has been told.

    Args:
        on_event: called with each event.
    """

    def __init__(self, on_event: Callable[[Table], None] | None) -> None:
        self._on_event = on_event
        self._done: Table | None = None
        self._error: MonocoreError | None = None

    def take(self, line: Table) -> None:
        """A further line."""
        if "event" in line and self._on_event is not None:
            self._on_event(inner(line, "event"))
        elif "done" in line:
            self._done = inner(line, "done")
        elif "error" in line:
            self._error = problem(table(line["error"]))

    def result(self) -> Table:
        """What ``done`` said.

        Raises:
            MonocoreError: what ``error`` said. Unreachable: it ended without either.
        """
        if self._error is not None:
            raise self._error
        if self._done is None:
            raise Unreachable("the daemon ended before it had told the result")
        return self._done
