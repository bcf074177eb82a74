"""Signals to the command line: they end what only prepares, and reach the guest's process once there is one.

What the caller of this program chose to ignore (``nohup``, a script's background job) stays ignored.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType

from monocore_core.cli.impatience import ENDING, PASSED_ON, Impatience


class Signals:
    """Takes over the process's signals, inside a running event loop, for the calling task.

    At first an ending signal cancels the task. After :meth:`forward_to` every signal goes to the guest, and the third ending
    one within ten seconds calls ``force``. After :meth:`finish` they are counted again only to give up.

    Attributes:
        ended_by: the signal that cancelled the task, or None.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("signals are taken over for a task")
        self._task = task
        self._impatience = Impatience()
        self._forward: Callable[[int], None] | None = None
        self._force: Callable[[], None] | None = None
        self.ended_by: int | None = None
        for number in (*ENDING, *PASSED_ON):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._received, number)

    def on(self, number: int, action: Callable[[], None]) -> None:
        """Call ``action`` at each signal ``number``."""
        self._loop.add_signal_handler(number, action)

    def forward_to(self, forward: Callable[[int], None], force: Callable[[], None]) -> None:
        """From now on pass signals on; ``force`` is for impatience."""
        self._forward, self._force = forward, force
        self._impatience.forget()

    def finish(self) -> None:
        """The process has ended: what is left is ours, and is not to be interrupted by one signal."""
        self._forward, self._force = None, None
        self.ended_by = self.ended_by or 0

    def _received(self, number: int) -> None:
        urgent = number in ENDING and self._impatience.grows()
        if self._forward is not None:
            if urgent and self._force is not None:
                self._impatience.forget()
                self._force()
            else:
                self._forward(number)
        elif number not in ENDING:
            return
        elif self.ended_by is None:
            self.ended_by = number
            self._task.cancel()
        elif urgent:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextmanager
def ending_signals_raise() -> Generator[None]:
    """Within the block an ending signal raises where the main thread is, even in a write that would wait for ever.

    For work that blocks; :class:`Signals` is for what awaits.

    Raises:
        SystemExit: with 128 + n, after signal n.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    ours = [number for number in ENDING if signal.getsignal(number) not in {signal.SIG_IGN, None}]
    taken = {number: signal.signal(number, end) for number in ours}
    try:
        yield
    finally:
        for number, before in taken.items():
            signal.signal(number, before)


def run_interruptibly(work: Callable[[Signals], Awaitable[int]]) -> int:
    """Run ``work`` in an event loop; when a signal ends it, clean up and give 128 + n."""
    taken: list[Signals] = []

    async def body() -> int:
        taken.append(Signals())
        return await work(taken[0])

    try:
        return asyncio.run(body())
    except asyncio.CancelledError:
        if taken and taken[0].ended_by:
            return 128 + taken[0].ended_by
        raise
