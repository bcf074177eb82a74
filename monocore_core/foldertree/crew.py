"""A few threads that write files while another goes on through the tree. What they wait for is the kernel, not the interpreter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from monocore_core.hostcalls.processors import usable

#: Pieces of work that may wait, for each thread: bounds open folders.
AHEAD = 2


def threads_here() -> int:
    """More than processors, since some of them wait for the disk."""
    return min(8, usable() + 1)


class Crew:
    """As a context manager it ends when all work is done; the first failure is raised, and what had not begun is dropped."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="foldertree")
        self._room = threading.Semaphore(threads * (1 + AHEAD))
        self._failure: BaseException | None = None

    def submit(self, work: Callable[[], None], undone: Callable[[], None]) -> None:
        """Do ``work`` soon; waits while there is much to do. ``undone`` is called instead when it is dropped.

        Raises:
            BaseException: the first failure of earlier work.
        """
        self._room.acquire()
        if self._failure is not None:
            self._room.release()
            undone()
            raise self._failure

        def run() -> None:
            if self._failure is None:
                work()
            else:
                undone()

        self._pool.submit(run).add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        error = future.exception()
        if error is not None and self._failure is None:
            self._failure = error
        self._room.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._failure is None:
            self._failure = error
        self._pool.shutdown(wait=True)
        if error is None and self._failure is not None:
            raise self._failure
