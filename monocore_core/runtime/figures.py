"""What running sandboxes use: each is measured from when it runs until it has ended."""

from __future__ import annotations

import asyncio

from attrs import define, field

from monocore_core.errors import Conflict, NotFound
from monocore_core.metrics import History, Sample, Sampler, Target
from monocore_core.runtime.sandboxes import Sandboxes


@define(eq=False)
class Figures:
    """Measures the sandboxes of one home. :meth:`run` leads it.

    Attributes:
        sandboxes: that are measured.
        sampler: which measures.
    """

    sandboxes: Sandboxes
    sampler: Sampler = field(factory=Sampler)

    async def run(self) -> None:
        """Measure until cancelled, or until nothing can happen any more."""
        sampling = asyncio.create_task(self.sampler.run())
        try:
            followed = self.sandboxes.book.happenings.follow()
            for record in self.sandboxes.all():
                self._add(record.id)
            async for happening in followed:
                if happening.kind in ("started", "found", "resumed"):
                    self._add(happening.sandbox)
                elif happening.kind in ("exited", "paused", "removed"):
                    self.sampler.remove(happening.sandbox)
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    async def now(self, text: str) -> Sample:
        """A sandbox's figures at this moment.

        Raises:
            NotFound, Conflict: there is no such sandbox, or it does not run.
        """
        life = self.sandboxes.life(text)
        self._add(life.record.id)
        sample = await self.sampler.now(life.record.id)
        if sample is None:
            raise Conflict(f"sandbox {life.record.name} has ended")
        return sample

    def history(self, text: str) -> History | None:
        """What was measured of a sandbox of late; None when it is not measured.

        Raises:
            NotFound: there is no such sandbox.
        """
        record = self.sandboxes.get(text)
        try:
            return self.sampler.history(record.id)
        except NotFound:
            return None

    def _add(self, identity: str) -> None:
        known = self.sampler.keys()
        if identity in known:
            return
        try:
            life = self.sandboxes.life(identity)
        except (Conflict, NotFound):  # it has ended meanwhile
            return
        self.sampler.add(Target(identity, (life.record.pid,), life.sandbox.guest.stats))
