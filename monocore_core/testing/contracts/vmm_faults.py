"""Clauses of the VMM contract on what goes wrong: refusals, guests that never answer, missing files, cancellation, leaks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import DeadlineExceeded, MachineError, MonocoreError, Unsupported
from monocore_core.model.machine import Disk, DiskLimits, MachineEnd, MachineSpec, Share
from monocore_core.model.network import Attachment, AttachmentKind, NoNetwork, Tap, UserMode
from monocore_core.model.rootfs import DiskFormat
from monocore_core.testing.cancelling import cancelled_at, every_suspension
from monocore_core.testing.contracts.vmm_base import PATIENCE, Before, Bench, VmmFixtures
from monocore_core.testing.guests import connected

_MAC = "02:4d:43:00:00:02"
#: A boot timeout, seconds, that is over before a guest without an agent could surprise.
_SOON = 1.0


class FaultClauses(VmmFixtures):
    """What must not happen when something fails."""

    async def test_an_agent_that_never_answers_exceeds_the_deadline(self, bench: Bench) -> None:
        """``Machine.connect``: DeadlineExceeded after ``spec.boot_timeout``, and the machine can still be ended."""
        spec = evolve(bench.root(), boot=bench.kit.mute, boot_timeout=_SOON)
        async with bench.started(spec) as machine:
            async with asyncio.timeout(_SOON + PATIENCE):
                with pytest.raises(DeadlineExceeded):
                    await machine.connect()
            assert (await machine.kill()).end is MachineEnd.KILLED

    async def test_a_machine_that_ends_before_its_agent_is_an_error(self, bench: Bench) -> None:
        """``Machine.connect``: MachineError with its last words, long before the deadline."""
        spec = evolve(bench.root(), boot=bench.kit.dying, boot_timeout=10 * PATIENCE)
        async with bench.started(spec) as machine, asyncio.timeout(3 * PATIENCE):
            with pytest.raises(MachineError) as caught:
                await machine.connect()
            assert caught.value.brief.strip()
            assert (await machine.wait()).end in (MachineEnd.SHUTDOWN, MachineEnd.FAILED)

    async def test_a_specification_beyond_the_capabilities_is_unsupported(self, bench: Bench) -> None:
        """``Vmm.start``: Unsupported for an architecture, a disk format, disks, shares and attachments not claimed."""
        before = Before.of(bench)
        for what, spec in self._beyond(bench):
            try:
                with pytest.raises(Unsupported) as caught:
                    await bench.vmm.start(spec)
            except pytest.fail.Exception:
                raise AssertionError(f"{what} was not refused") from None
            assert caught.value.brief.strip()
            before.check_files(spec)
            await bench.vmm.remove(spec.key)
        await before.check_processes()

    @staticmethod
    def _beyond(bench: Bench) -> Iterator[tuple[str, MachineSpec]]:
        can = bench.capabilities
        spec = bench.root()
        yield "an unknown architecture", evolve(spec, architecture="pdp11")
        image = bench.kit.root_disk(DiskFormat.RAW)
        many = tuple(Disk(f"disk-{number}", image.path) for number in range(can.max_disks + 1))
        yield "one disk too many", evolve(spec, disks=many, shares=())
        for layout in sorted(set(DiskFormat) - can.disk_formats):
            disk = bench.kit.root_disk(layout)
            yield f"a {layout} disk", bench.kit.spec(disks=(disk,))
        if not can.disk_limits and DiskFormat.RAW in can.disk_formats:
            limited = evolve(image, limits=DiskLimits(read=1 << 20))
            yield "a disk whose rate is limited", bench.kit.spec(disks=(limited,))
        if not can.shares:
            yield "a share", bench.kit.spec(shares=(Share("folder", bench.kit.tree),))
        attachments: dict[AttachmentKind, Attachment] = {
            AttachmentKind.NONE: NoNetwork(),
            AttachmentKind.TAP: Tap("contract0", _MAC),
            AttachmentKind.USER: UserMode(_MAC),
        }
        for kind in sorted(set(attachments) - can.attachments):
            yield f"the attachment {kind}", evolve(spec, attachment=attachments[kind])

    async def test_a_missing_boot_disk_leaves_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Partial failure: a MonocoreError, no process, no file."""
        await self._fails(bench, evolve(bench.root(), boot=tmp_path / "missing"))

    async def test_a_missing_disk_leaves_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Partial failure: a MonocoreError, no process, no file."""
        spec = bench.root()
        bench.need(DiskFormat.RAW in bench.capabilities.disk_formats, "raw disks")
        await self._fails(bench, evolve(spec, disks=(*spec.disks, Disk("missing", tmp_path / "missing"))))

    async def test_an_unreadable_disk_leaves_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Partial failure: a folder in place of a disk can be opened and not be read."""
        spec = bench.root()
        bench.need(DiskFormat.RAW in bench.capabilities.disk_formats, "raw disks")
        await self._fails(bench, evolve(spec, disks=(*spec.disks, Disk("folder", tmp_path))))

    async def test_a_missing_share_leaves_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Partial failure: a MonocoreError, no process, no file."""
        bench.need(bench.capabilities.shares, "shares")
        spec = bench.root()
        await self._fails(bench, evolve(spec, shares=(*spec.shares, Share("missing", tmp_path / "missing"))))

    async def test_a_console_that_cannot_be_made_leaves_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Partial failure: a MonocoreError, no process, no file."""
        await self._fails(bench, evolve(bench.root(), console=tmp_path / "missing" / "console.log"))

    @staticmethod
    async def _fails(bench: Bench, spec: MachineSpec) -> None:
        """The start fails, or, where the VMM opens things late, the machine does by itself."""
        before = Before.of(bench)
        try:
            async with asyncio.timeout(3 * PATIENCE):
                with pytest.raises(MonocoreError) as caught:
                    await (await bench.vmm.start(spec)).connect()
            assert caught.value.brief.strip()
            await before.check_processes()
            assert await bench.vmm.adopt(spec) is None
        finally:
            for pid in bench.processes() - before.processes:
                os.kill(pid, signal.SIGKILL)
        await bench.vmm.remove(spec.key)
        before.check_files(spec)

    async def test_a_start_cancelled_at_any_await_leaves_nothing(self, bench: Bench) -> None:
        """Cancellation: no process, no descriptor, no file; the same start then works."""
        spec = bench.root()
        async with bench.started(spec):
            pass  # what is made once is made now
        before = Before.of(bench)
        async for step in every_suspension(lambda: bench.vmm.start(spec)):
            if step.value is not None:
                assert (await step.value.kill()).end is MachineEnd.KILLED
            try:
                await before.check_processes()
            finally:
                for pid in bench.processes() - before.processes:
                    os.kill(pid, signal.SIGKILL)
            assert await bench.vmm.adopt(spec) is None
            await bench.vmm.remove(spec.key)
            before.check_files(spec)
        await before.check_descriptors()

    async def test_a_connect_cancelled_at_any_await_can_be_repeated(self, bench: Bench) -> None:
        """Cancellation of ``Machine.connect``: nothing is open, the machine is as before, the next connect works."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(10 * PATIENCE):
            first = await cancelled_at(1, machine.connect)
            if first.value is not None:
                await first.value.aclose()
            await (await machine.connect()).aclose()
            before = Before.of(bench)
            async for step in every_suspension(machine.connect):
                if step.value is not None:
                    await step.value.aclose()
                else:
                    await before.check_descriptors()
            async with connected(machine) as guest:
                await guest.stats()

    async def test_a_machine_leaves_nothing(self, bench: Bench) -> None:
        """After its end and ``remove``: no process, no descriptor, no file but the console; however it ended."""
        async with bench.started(bench.root()):
            pass  # what is made once is made now
        before = Before.of(bench)
        for way in ("stop", "kill", "crash"):
            spec = bench.root()
            async with bench.started(spec) as machine, asyncio.timeout(3 * PATIENCE):
                match way:
                    case "stop":
                        await machine.connect()  # the channel is the machine's to close
                        await machine.stop(PATIENCE)
                    case "kill":
                        await machine.kill()
                    case _:
                        os.kill(machine.pid, signal.SIGKILL)
                        await machine.wait()
            before.check_files(spec)
            await before.check_processes()
        await before.check_descriptors()

    async def test_closing_the_vmm_leaves_nothing(self, bench: Bench) -> None:
        """``create``: a VMM that is closed holds no descriptor, and no foreground machine is out of reach."""
        before = Before.of(bench)
        spec = evolve(bench.root(), foreground=True)
        try:
            async with bench.provider.create(bench.host, bench.options) as vmm:
                machine = await vmm.start(spec)
                await machine.kill()
            await before.check_processes()
            await before.check_descriptors()
        finally:
            for pid in bench.processes() - before.processes:
                os.kill(pid, signal.SIGKILL)
        await bench.vmm.remove(spec.key)
