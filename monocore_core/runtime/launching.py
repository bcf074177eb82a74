"""Starts under way, so that whoever wants a sandbox gone need not wait for one: an image may be large, and an agent may never answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from attrs import define, field

from monocore_core.errors import Conflict
from monocore_core.model.record import SandboxRecord
from monocore_core.runtime.life import Life


@define(eq=False)
class Launches:
    """By sandbox; each has one at a time."""

    _tasks: dict[str, asyncio.Task[Life]] = field(factory=dict[str, asyncio.Task[Life]], init=False)

    async def run(self, record: SandboxRecord, work: Coroutine[object, object, Life]) -> Life:
        """Do it, unless it is given up.

        Raises:
            Conflict: it was.
        """
        task = self._tasks[record.id] = asyncio.create_task(work)
        try:
            return await task
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            if ours is not None and ours.cancelling():
                raise
            raise Conflict(f"sandbox {record.name} was ended while it was being started") from None
        finally:
            del self._tasks[record.id]

    async def give_up(self, record: SandboxRecord) -> bool:
        """Cancel a sandbox's start; gives whether there was one. Returns when nothing of it runs any more."""
        task = self._tasks.get(record.id)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait([task])
        return True
