"""A pool of machines that wait to be started: how many of which shape, when they are made, and when they are ended.

The pool learns shapes from what is started, and roles: what the guests of a shape's machines are set up as (:mod:`monocore_core.roles`). Spares of
a role are set up already; beside them one that is set up as nothing waits, for whatever else has the shape. A VMM that keeps spares (:class:`~monocore_core.interfaces.vmm.StockingVmm`) takes one for each start that
fits, by itself; the pool makes up for it afterwards, one at a time, and not while anything is being started. Spares are ended when their
shape was not started for long, when others were started since, and, one after the other, while the host is short of memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from attrs import define, evolve, field

from monocore_core.errors import MonocoreError
from monocore_core.interfaces.vmm import Greeter, StockingVmm, Vmm
from monocore_core.metrics.host import read_process
from monocore_core.metrics.pressure import HostMemory, read_host_memory
from monocore_core.model.events import Listener, Warned, ignore
from monocore_core.model.machine import MachineSpec
from monocore_core.model.pool import MIB, PoolSettings, PoolShape
from monocore_core.preparing import Shape, rehearse, shape_of

#: Seconds without a start until spares are made, and after which they are made although there are starts all the time.
PAUSE: Final = 0.1
PATIENCE: Final = 3.0
#: Seconds between two looks at the host's memory.
LOOK: Final = 2.0
#: Seconds until what cannot have a spare yet is asked again, at first and at most.
AGAIN: Final = 1.0
MOST: Final = 60.0
#: Failures in a row after which a shape gets no spares any more.
FAILURES: Final = 3
#: What a spare is taken for that was not weighed yet, bytes.
GUESS: Final = 48 * MIB
Key = tuple[int, Shape, str]


def weight_of(pid: int) -> int:
    """Proportional set size of a process; a guess for one that tells none."""
    found = read_process(pid, pss=True)
    return (found[0].pss if found is not None else None) or GUESS


@define(eq=False)
class _Kept:
    """A shape, or a role of one.

    Attributes:
        vmm: whose machines have it.
        spec: of one that was started, without a role for the shape by itself.
        settle: sets a guest up as of the role.
        used: when one was started last.
        weights: bytes of each spare, by its id.
        weight: of the last one.
        failures: in a row.
        again: when the next spare may be made.
        pause: until it is tried again.
        reason: why there are too few.
    """

    vmm: StockingVmm
    spec: MachineSpec
    settle: Greeter | None
    used: float
    weights: dict[str, int] = field(factory=dict[str, int])
    weight: int = GUESS
    failures: int = 0
    again: float = 0.0
    pause: float = AGAIN
    reason: str = ""

    def ready(self) -> list[str]:
        """Spares that wait, the oldest first."""
        living = {spare.id for spare in self.vmm.spares()}
        for gone in self.weights.keys() - living:
            del self.weights[gone]
        return list(self.weights)


@define(eq=False)
class Pool:
    """The pool of one daemon; :meth:`run` leads it.

    Attributes:
        settings: how large it is.
        listener: is told when a shape can have no spares.
        memory: of the host.
        weigh: bytes that a process takes.
        clock: seconds.
    """

    settings: PoolSettings = field(factory=PoolSettings)
    listener: Listener = ignore
    memory: Callable[[], HostMemory] = read_host_memory
    weigh: Callable[[int], int] = weight_of
    clock: Callable[[], float] = time.monotonic
    _shapes: OrderedDict[Key, _Kept] = field(init=False, factory=OrderedDict[Key, _Kept])
    _surplus: list[_Kept] = field(init=False, factory=list[_Kept])
    _starting: int = field(init=False, default=0)
    _touched: float = field(init=False, default=0.0)
    _waited: float = field(init=False, default=0.0)
    _wake: asyncio.Event = field(init=False, factory=asyncio.Event)

    @contextmanager
    def starting(self) -> Generator[None]:
        """Something is being started for as long as the block lasts."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self._touched = self.clock()

    def consider(self, vmm: Vmm, spec: MachineSpec, settle: Greeter | None = None) -> None:
        """A machine was started: its shape is worth having spares of, and its role. Returns at once.

        Args:
            vmm: that started it.
            spec: of it.
            settle: sets a guest up as ``spec.role`` says; None: nobody can.
        """
        if not self.settings.size or not isinstance(vmm, StockingVmm):
            return
        self._learn(vmm, evolve(spec, role=""), None)
        if settle is not None:
            self._learn(vmm, spec, settle)
        self._waited = self._waited or self.clock()
        self._wake.set()

    def _learn(self, vmm: StockingVmm, spec: MachineSpec, settle: Greeter | None) -> None:
        key = (id(vmm), shape_of(spec), spec.role)
        kept = self._shapes.get(key)
        if kept is None:
            kept = self._shapes[key] = _Kept(vmm, spec, settle, self.clock())
        kept.spec, kept.settle, kept.used = spec, settle, self.clock()
        self._shapes.move_to_end(key)
        while len(self._shapes) > self.settings.shapes:
            self._surplus.append(self._shapes.popitem(last=False)[1])

    def shapes(self) -> tuple[PoolShape, ...]:
        """What it keeps, the shape that was started last at the end."""
        found: list[PoolShape] = []
        for key, kept in self._shapes.items():
            ready, spec = kept.ready(), kept.spec
            disks = tuple(disk.name for disk in spec.disks)
            weight = sum(kept.weights.values())
            settled = bool(spec.role)
            wanted, reason = self._wanted(key), kept.reason
            found.append(
                PoolShape(spec.vcpus, spec.memory, disks, settled, wanted, len(ready), weight, reason)
            )
        return tuple(found)

    async def run(self) -> None:
        """Make and end spares until cancelled."""
        while True:
            self._wake.clear()
            if await self.step():
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()

    async def step(self) -> bool:
        """Do one thing, if there is one to do; whether there was."""
        now = self.clock()
        if await self._end_surplus(now) or await self._relieve():
            return True
        if self._starting or (now - self._touched < PAUSE and now - self._waited < PATIENCE):
            return False
        return await self._refill(now)

    def _rest(self) -> float | None:
        """Seconds until something may be to do without anybody's saying so."""
        if not self._shapes:
            return None
        if not self._waited:
            return LOOK
        return PAUSE

    async def _end_surplus(self, now: float) -> bool:
        """End a spare of a shape that nobody starts any more."""
        for key, kept in list(self._shapes.items()):
            if now - kept.used >= self.settings.idle:
                self._surplus.append(self._shapes.pop(key))
        while self._surplus:
            ready = self._surplus[0].ready()
            if ready:
                await self._end(self._surplus[0], ready[0])
                return True
            del self._surplus[0]
        return False

    async def _relieve(self) -> bool:
        """End a spare while the host is short of memory."""
        if not self._short(self.memory()):
            return False
        for kept in self._shapes.values():
            if ready := kept.ready():
                kept.reason = "the host is short of memory"
                await self._end(kept, ready[0])
                return True
        return False

    async def _end(self, kept: _Kept, spare: str) -> None:
        kept.weights.pop(spare, None)
        with contextlib.suppress(MonocoreError):  # it has ended, or the next process ends it
            await kept.vmm.unstock(spare)

    async def _refill(self, now: float) -> bool:
        """Make a spare of the shape that was started last and has too few."""
        wanted = [
            kept for key, kept in reversed(self._shapes.items()) if len(kept.ready()) < self._wanted(key)
        ]
        if not wanted:
            self._waited = 0.0
            return False
        due = [kept for kept in wanted if kept.again <= now and kept.failures < FAILURES]
        for kept in due:
            reason = self._against(kept)
            if reason:
                kept.reason, kept.again = reason, now + LOOK
                continue
            await self._make(kept)
            return True
        if all(kept.failures >= FAILURES or kept.again > now + PAUSE for kept in wanted):
            self._waited = 0.0  # nothing to wait for with impatience
        return False

    def _wanted(self, key: Key) -> int:
        """How many spares there should be: of a shape whose roles have some of their own, one."""
        has_roles = not key[2] and any(other[:2] == key[:2] and other[2] for other in self._shapes)
        return 1 if has_roles else self.settings.size

    def _against(self, kept: _Kept) -> str:
        """Why there is no room for a spare now, or ""."""
        memory = self.memory()
        if self._short(HostMemory(memory.available - 2 * kept.weight, memory.stalled * 2)):
            return "the host is short of memory"
        taken = sum(sum(one.weights.values()) for one in (*self._shapes.values(), *self._surplus))
        if taken + kept.weight > self.settings.memory:
            return "spares take as much memory as they may"
        return ""

    async def _make(self, kept: _Kept) -> None:
        try:
            made = await kept.vmm.stock(kept.spec, rehearse, kept.settle)
        except MonocoreError as error:
            kept.failures += 1
            kept.reason = error.brief
            self._later(kept)
            if kept.failures == FAILURES:
                self.listener(Warned(f"no spare machines are kept of a shape any more: {error.brief}"))
            return
        if isinstance(made, str):
            kept.reason = made
            self._later(kept)
            return
        kept.failures, kept.pause, kept.reason = 0, AGAIN, ""
        kept.weight = kept.weights[made.id] = await asyncio.to_thread(self.weigh, made.pid)

    def _later(self, kept: _Kept) -> None:
        kept.again = self.clock() + kept.pause
        kept.pause = min(kept.pause * 2, MOST)

    def _short(self, memory: HostMemory) -> bool:
        return memory.available < self.settings.reserve or memory.stalled > self.settings.pressure
