"""Signals that end, those that are only passed on, and when a person has sent enough of them."""

from __future__ import annotations

import signal
import time

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
#: So many ending signals within so many seconds mean: at once.
PATIENCE = 3
WINDOW = 10.0


class Impatience:
    """Counts ending signals."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def grows(self) -> bool:
        """One more has come; whether it is enough."""
        now = time.monotonic()
        recent = [when for when in self._times if now - when < WINDOW]
        self._times = [*recent[-PATIENCE:], now]
        return len(self._times) >= PATIENCE

    def forget(self) -> None:
        """Count from the beginning."""
        self._times.clear()
