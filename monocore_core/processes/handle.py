"""What watches one process."""

from __future__ import annotations

import signal
from typing import Protocol


class Handle(Protocol):
    """One process, whoever is given its number later."""

    def fileno(self) -> int:
        """A descriptor that is readable once the process has ended."""
        ...

    def signal(self, number: signal.Signals) -> None:
        """Send a signal.

        Raises:
            ProcessLookupError: the process is gone.
        """
        ...

    def collect(self) -> int | None:
        """Exit status of an ended child, minus the signal's number when one ended it; None: it runs, or is nobody's child here."""
        ...

    def close(self) -> None:
        """Stop watching; the process goes on."""
        ...
