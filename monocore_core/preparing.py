"""Having templates made, beside everything else: after a machine was started, for later ones of its shape.

One at a time, and not before the machine has run for a moment: what ends at once, as a single command does together with its engine, is not
worth the work. A template that is set up for one role (:class:`~monocore_core.interfaces.vmm.SettlingVmm`) is made when a second machine of the role was started:
what is started once, as many an image is, is not worth that. A VMM that fails to make the template of a shape is asked again after a minute, and then after twice as long each time.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from attrs import define, field

from monocore_core.errors import MonocoreError
from monocore_core.guest.client import Guest
from monocore_core.interfaces.vmm import Greeter, GuestChannel, SettlingVmm, TemplateVmm, Vmm
from monocore_core.model.events import Listener, Warned
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import AttachmentKind

#: Seconds from a machine's start until its template is made.
PAUSE = 0.5
#: Seconds until what has failed is tried again, and at most.
RETRY, MAX_RETRY = 60.0, 3600.0
#: How many roles are remembered as started.
_SEEN = 64
#: Seconds for the agent of a template, which yields to everything else, to answer.
_PATIENCE = 60.0
Shape = tuple[str, int, int, tuple[tuple[str, bool], ...], AttachmentKind, tuple[str, ...]]
#: A shape, and a role.
_Wanted = tuple[str, int, int, tuple[tuple[str, bool], ...], AttachmentKind, tuple[str, ...], str]


@define(eq=False)
class Preparer:
    """Asks VMMs for templates.

    Attributes:
        listener: is told of failures.
        pause: seconds.
        retry: seconds until what has failed is tried again, doubled each time.
    """

    listener: Listener
    pause: float = PAUSE
    retry: float = RETRY
    _tasks: dict[_Wanted, asyncio.Task[None]] = field(init=False, factory=dict[_Wanted, asyncio.Task[None]])
    _failed: dict[_Wanted, tuple[float, float]] = field(
        init=False, factory=dict[_Wanted, tuple[float, float]]
    )
    _seen: OrderedDict[_Wanted, None] = field(init=False, factory=OrderedDict[_Wanted, None])
    _turn: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    def consider(self, vmm: Vmm, spec: MachineSpec, settle: Greeter | None = None) -> None:
        """Have the template of a machine that was started made, if its VMM makes any. Returns at once.

        Args:
            vmm: that started it.
            spec: of it.
            settle: sets a guest up as ``spec.role`` says; None: nobody can.
        """
        what = (*shape_of(spec), spec.role)
        if not self._seen_before(what):
            settle = None
        _, until = self._failed.get(what, (0.0, 0.0))
        if isinstance(vmm, TemplateVmm) and what not in self._tasks and time.monotonic() >= until:
            self._tasks[what] = asyncio.create_task(self._prepare(vmm, spec, what, settle), name="template")

    def _seen_before(self, what: _Wanted) -> bool:
        before = what in self._seen
        self._seen[what] = None
        self._seen.move_to_end(what)
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        return before

    async def aclose(self) -> None:
        """Give up what is under way. A repeat does nothing."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _prepare(
        self, vmm: TemplateVmm, spec: MachineSpec, what: _Wanted, settle: Greeter | None
    ) -> None:
        lost = "machines of this shape boot"
        try:
            await asyncio.sleep(self.pause)
            async with self._turn:
                reason = await vmm.prepare(spec, greet)
                if reason is None and settle is not None and isinstance(vmm, SettlingVmm):
                    lost = "sandboxes of this image are set up one by one"
                    await vmm.prepare_role(spec, greet, settle)
            self._failed.pop(what, None)
        except MonocoreError as error:
            seconds, _ = self._failed.get(what, (self.retry, 0.0))
            self._failed[what] = min(2 * seconds, MAX_RETRY), time.monotonic() + seconds
            hint = f" ({error.hint})" if error.hint else ""
            self.listener(Warned(f"no template could be made, {lost}: {error.brief}{hint}"))
        finally:
            del self._tasks[what]


async def greet(channel: GuestChannel) -> None:
    """Shake hands with an agent, and let go of it."""
    guest = await Guest.open(channel, timeout=_PATIENCE)
    await guest.aclose()


async def rehearse(channel: GuestChannel) -> None:
    """Shake hands with an agent, have it do once what it will do for a sandbox, and let go of it."""
    guest = await Guest.open(channel, timeout=_PATIENCE)
    try:
        await guest.rehearse()
    finally:
        await guest.aclose()


def shape_of(spec: MachineSpec) -> Shape:
    """What this module knows of a shape; a VMM knows more."""
    disks = tuple((disk.name, disk.readonly) for disk in spec.disks)
    return (spec.architecture, spec.vcpus, spec.memory, disks, spec.attachment.kind, spec.cmdline)
