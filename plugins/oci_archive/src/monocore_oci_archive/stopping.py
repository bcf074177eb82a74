"""Work in threads that ends soon when nobody waits for it any more."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from attrs import define, field

from monocore_core.concurrency import in_thread

T = TypeVar("T")


class Stopped(Exception):
    """Raised in the thread; the caller was cancelled and does not see it."""


@define(eq=False)
class Stop:
    """Told to the thread by the event loop. By a pipe, so that a thread that waits for another wakes up, too."""

    _pipe: tuple[int, int] = field(factory=os.pipe, init=False)
    _set: bool = field(default=False, init=False)

    def set(self) -> None:
        """End the work at its next :meth:`check` or :meth:`wait_readable`."""
        if not self._set:
            self._set = True
            os.write(self._pipe[1], b"!")

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: not.
        """
        if self._set:
            raise Stopped

    def wait_readable(self, fd: int) -> None:
        """Return when ``fd`` has bytes or has ended.

        Raises:
            Stopped: the caller was cancelled meanwhile.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._pipe[0], select.POLLIN)
        poll.poll()
        self.check()

    def close(self) -> None:
        """Let go of the pipe: nobody waits any more."""
        for end in self._pipe:
            os.close(end)


@contextmanager
def _stop() -> Generator[Stop]:
    stop = Stop()
    try:
        yield stop
    finally:
        stop.close()


async def stoppable(work: Callable[[Stop], T], discard: Callable[[T], None] | None = None) -> T:
    """Run ``work`` in a thread. When cancelled, it is told to stop, and waited for.

    ``discard`` gets a result that came too late for a cancelled caller.
    """
    results: list[T] = []
    with _stop() as stop:
        try:
            await in_thread(lambda: results.append(work(stop)), stop=stop.set)
        except BaseException:
            if results and discard is not None:
                discard(results[0])
            raise
    return results[0]
