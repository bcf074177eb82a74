"""Boot a template, and capture it when its agent serves and nothing happens in it any more."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen

from monocore_core.errors import DeadlineExceeded, MachineError, StorageError
from monocore_core.interfaces.vmm import Greeter
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import Tap
from monocore_core.vmmkit.channel import SocketChannel
from monocore_core.vmmkit.guestkernel import Kernel
from monocore_core.vmmkit.jsontext import Json, at
from monocore_core.vmmkit.qmp import Qmp
from monocore_vmm_qemu import sockets
from monocore_vmm_qemu.image import MAX_STATE, Captured
from monocore_vmm_qemu.launch import Launcher
from monocore_vmm_qemu.running import IGNORE_SHARED, Running
from monocore_vmm_qemu.shape import PLACEHOLDER
from monocore_vmm_qemu.snapshot import take

#: Seconds for a template to boot: it yields to whatever else runs.
_BOOT = 180.0
#: Seconds for its state to be written.
_SAVE = 60.0
#: Seconds of looking, how often it must have been idle, and at most.
_LOOK, _CALM, _LOOKS = 0.02, 3, 100
#: By how much a disk's end is moved, for the guest to be told.
_MOVED = 1024 * 1024
_STATE = "state"


@frozen
class Work:
    """What captures.

    Attributes:
        launcher: starts QEMU.
        kernel: that the template boots.
        stub: in its place for copies.
        kvm: whether to use it.
        greet: shakes hands with the agent.
    """

    launcher: Launcher
    kernel: Kernel
    stub: Kernel
    kvm: bool
    greet: Greeter

    async def capture(self, spec: MachineSpec, image: Captured) -> None:
        """Boot the template ``spec``, let its agent serve once, and capture it into ``image``, which is sealed.

        Raises:
            MachineError, DeadlineExceeded: it did not boot, or could not be captured.
            StorageError: its placeholders could not be made.
        """
        async with self._running(spec, image, copied=False) as running:
            await self._agent(spec, running, _BOOT)
            await calm(running.process.pid)
            if running.qmp is None:
                raise MachineError("the template's monitor is closed")
            async with asyncio.timeout(_SAVE):
                await _save(running.qmp, spec, image.state)
        if not 0 < os.fstat(image.state).st_size <= MAX_STATE:
            raise MachineError("the template's state is empty, or too long")
        try:
            image.seal()
        except OSError as error:
            raise MachineError(f"the template's memory cannot be sealed ({error.strerror})") from error

    async def rehearse(self, spec: MachineSpec, image: Captured) -> None:
        """Start one copy, for its agent to answer.

        Raises:
            MachineError, DeadlineExceeded: it does not.
        """
        async with self._running(spec, image, copied=True) as running:
            await self._agent(spec, running, _BOOT)

    async def settle(self, spec: MachineSpec, image: Captured, settle: Greeter) -> Captured:
        """Start a copy with disks that are not placeholders, have its guest set up, and capture it once more.

        Raises:
            MachineError, DeadlineExceeded, GuestError: it did not start, could not be set up, or could not be captured.
        """
        async with self._running(spec, image, copied=True) as running:
            await self._agent(spec, running, _BOOT, settle)
            await calm(running.process.pid)
            if running.qmp is None:
                raise MachineError("the template's monitor is closed")
            await running.qmp.execute("stop")
            return (await take(spec, running, "", self.launcher.binary)).captured

    @asynccontextmanager
    async def _running(self, spec: MachineSpec, image: Captured, *, copied: bool) -> AsyncGenerator[Running]:
        with ExitStack() as stack:
            attached, launcher = _attached(spec, self.launcher, stack)
            kernel = self.stub if copied else self.kernel
            running = await launcher.launch(attached, kernel, kvm=self.kvm, image=image, copied=copied)
        try:
            yield running
        finally:
            await running.end(0)
            self.launcher.records.remove(spec.key)

    async def _agent(
        self, spec: MachineSpec, running: Running, seconds: float, greet: Greeter | None = None
    ) -> None:
        """Speak with the agent, as soon as it listens: shake hands, or what is given."""
        opened = asyncio.create_task(running.agent_open.wait())
        try:
            await asyncio.wait((opened, running.ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        if running.ended.done():
            raise MachineError(f"the template ended: {running.ended.result().detail}")
        if not running.agent_open.is_set():
            raise DeadlineExceeded(f"the template has no agent within {seconds:g} seconds")
        await (greet or self.greet)(
            SocketChannel(sockets.connect(spec.directory, sockets.AGENT_SOCKET), spec.key)
        )


def placeholders(spec: MachineSpec, *, rehearsing: bool = False) -> None:
    """Make the template's disks, empty.

    Args:
        spec: of the template.
        rehearsing: what cannot be written shows what the boot disk does, so that a rehearsal has something to mount and to read.

    Raises:
        StorageError: the file system holds no file of that size, or is full; or the boot disk cannot be read.
    """
    for disk in spec.disks:
        try:
            with disk.path.open("xb") as file:
                if rehearsing and disk.readonly:
                    file.write(spec.boot.read_bytes())
                file.truncate(PLACEHOLDER)
        except OSError as error:
            raise StorageError(f"{disk.path}: {error.strerror}") from error


def clear(folder: Path) -> None:
    """Remove what a template's machine has left."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _attached(spec: MachineSpec, launcher: Launcher, stack: ExitStack) -> tuple[MachineSpec, Launcher]:
    """With a tap that leads nowhere, in a network namespace of QEMU's own, where one is asked for."""
    if not isinstance(spec.attachment, Tap):
        return spec, launcher
    place = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # a number that nothing else has; the tap takes it
    stack.callback(os.close, place)
    return evolve(spec, attachment=evolve(spec.attachment, fd=place)), evolve(launcher, tap=place)


async def calm(pid: int) -> None:
    """Wait until a process has done nothing for some looks in a row; at most a few seconds, as it is only for the copies' good."""
    calm, before = 0, _ticks(pid)
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK)
        now = _ticks(pid)
        calm, before = (calm + 1 if now == before else 0), now
        if calm == _CALM:
            return


def _ticks(pid: int) -> int:
    """Processor time of a process and its threads, in clock ticks."""
    try:
        text = Path("/proc", str(pid), "stat").read_bytes()
    except OSError:
        return 0
    fields = text[text.rindex(b")") + 2 :].split()
    return int(fields[11]) + int(fields[12])


async def _save(qmp: Qmp, spec: MachineSpec, state: int) -> None:
    await qmp.execute("stop")
    for number, disk in enumerate(spec.disks, start=1):
        await move(qmp, f"disk{number}", readonly=disk.readonly)
    await qmp.execute("migrate-set-capabilities", {"capabilities": [dict(IGNORE_SHARED)]})
    await qmp.hand(_STATE, state)
    await qmp.execute("migrate", {"uri": f"fd:{_STATE}"})
    while (status := at(await qmp.execute("query-migrate"), "status")) != "completed":
        if status in {"failed", "cancelled"}:
            raise MachineError("QEMU could not write the template's state")
        await asyncio.sleep(_LOOK / 4)


async def move(qmp: Qmp, node: str, *, readonly: bool) -> None:
    """Tell the stopped guest that a disk has another size: it learns which as soon as it runs again, which is in a copy."""
    if readonly:
        file = await _file_of(qmp, node)
        options: Json = [{"driver": "raw", "node-name": node, "read-only": False, "file": file}]
        await qmp.execute("blockdev-reopen", {"options": options})
    await qmp.execute("block_resize", {"node-name": node, "size": PLACEHOLDER - _MOVED})


async def _file_of(qmp: Qmp, node: str) -> Json:
    """The name of the node below ``node``, whose file nobody else has."""
    nodes = await qmp.execute("query-named-block-nodes", {"flat": True})
    known = nodes if isinstance(nodes, list) else []
    path = next((at(one, "file") for one in known if at(one, "node-name") == node), None)
    for one in known:
        if path is not None and at(one, "file") == path and at(one, "drv") == "file":
            return at(one, "node-name")
    raise MachineError(f"QEMU does not know the disk {node}")
