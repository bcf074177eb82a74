"""Wakes followers in this process when a writer has written, from whichever thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress


class Bell:
    """Of one log. ``closed`` is whether nobody writes to it (any more)."""

    def __init__(self) -> None:
        self.closed = True
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, tuple[asyncio.AbstractEventLoop, int]] = {}

    def ring(self) -> None:
        """Wake all who listen."""
        if not self._waiting:
            return
        here = threading.get_ident()
        with self._lock:
            waiting = list(self._waiting.items())
        for event, (loop, thread) in waiting:
            if thread == here:
                event.set()
            else:
                with suppress(RuntimeError):  # that loop was closed
                    loop.call_soon_threadsafe(event.set)

    @contextmanager
    def listening(self) -> Generator[asyncio.Event]:
        """An event of the running loop that is set at each ring."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = (asyncio.get_running_loop(), threading.get_ident())
        try:
            yield event
        finally:
            with self._lock:
                del self._waiting[event]
