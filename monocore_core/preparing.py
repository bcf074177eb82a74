"""Having templates made, beside everything else: after a machine was started, for later ones of its shape.

One at a time, and not before the machine has run for a moment: what ends at once, as a single command does together with its engine, is not
worth the work. A VMM that fails to make the template of a shape is not asked for it again by this engine.
"""

from __future__ import annotations

import asyncio

from attrs import define, field

from monocore_core.errors import MonocoreError
from monocore_core.guest.client import Guest
from monocore_core.interfaces.vmm import GuestChannel, TemplateVmm, Vmm
from monocore_core.model.events import Listener, Warned
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import AttachmentKind

#: Seconds from a machine's start until its template is made.
PAUSE = 0.5
#: Seconds for the agent of a template, which yields to everything else, to answer.
_PATIENCE = 60.0
Shape = tuple[str, int, int, tuple[tuple[str, bool], ...], AttachmentKind, tuple[str, ...]]


@define(eq=False)
class Preparer:
    """Asks VMMs for templates.

    Attributes:
        listener: is told of failures.
        pause: seconds.
    """

    listener: Listener
    pause: float = PAUSE
    _tasks: dict[Shape, asyncio.Task[None]] = field(init=False, factory=dict[Shape, asyncio.Task[None]])
    _given_up: set[Shape] = field(init=False, factory=set[Shape])
    _turn: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    def consider(self, vmm: Vmm, spec: MachineSpec) -> None:
        """Have the template of a machine that was started made, if its VMM makes any. Returns at once."""
        shape = shape_of(spec)
        if isinstance(vmm, TemplateVmm) and shape not in self._tasks and shape not in self._given_up:
            self._tasks[shape] = asyncio.create_task(self._prepare(vmm, spec, shape), name="template")

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

    async def _prepare(self, vmm: TemplateVmm, spec: MachineSpec, shape: Shape) -> None:
        try:
            await asyncio.sleep(self.pause)
            async with self._turn:
                await vmm.prepare(spec, greet)
        except MonocoreError as error:
            self._given_up.add(shape)
            hint = f" ({error.hint})" if error.hint else ""
            self.listener(
                Warned(f"no template could be made, machines of this shape boot: {error.brief}{hint}")
            )
        finally:
            del self._tasks[shape]


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
