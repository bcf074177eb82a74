"""Output that the daemon sends to a descriptor of ours: written by a thread, so that a reader that has stalled stops nothing else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from monocore_core.cli.descriptors import OutputClosed, write_all
from monocore_core.errors import MonocoreError

#: Bytes that wait before no more is to be put.
ROOM = 1024 * 1024


class Outflow:
    """Writes what is put, in order, in a daemon thread that never delays the exit.

    Args:
        fd: where to.
        news: called from the thread when it has written something, or cannot write.
    """

    def __init__(self, fd: int, news: Callable[[], None]) -> None:
        self._fd = fd
        self._news = news
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._error: MonocoreError | OutputClosed | None = None
        self._change = threading.Condition()
        self._started = False

    def put(self, data: bytes) -> None:
        """Write this next."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name=f"output-{self._fd}", daemon=True).start()
        with self._change:
            self._parts.append(data)
            self._size += len(data)
            self._change.notify()

    @property
    def full(self) -> bool:
        """Whether what waits is enough for now."""
        return self._size > ROOM

    @property
    def idle(self) -> bool:
        """Whether everything has been written."""
        return self._size == 0

    def check(self) -> None:
        """Say what went wrong.

        Raises:
            OutputClosed: nobody reads it any more. StorageError: the disk refused.
        """
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._parts:
                    self._change.wait()
                data = self._parts.popleft()
            try:
                write_all(self._fd, data)
            except (MonocoreError, OutputClosed) as error:
                self._error = error
                self._news()
                return
            with self._change:
                self._size -= len(data)
            self._news()
