"""VMMs that break one promise each: the clause that must notice is named with it."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from attrs import evolve
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.errors import (
    Conflict,
    DeadlineExceeded,
    MachineError,
    MonocoreError,
    NotFound,
    Unsupported,
)
from monocore_core.interfaces.vmm import Greeter, GuestChannel, Machine, Vmm
from monocore_core.model.machine import Disk, MachineEnd, MachineExit, MachineSpec, Share
from monocore_core.model.network import NoNetwork, UserMode
from monocore_core.model.rootfs import DiskFormat
from tests.conformance.vmm_fakes import FakeMachine, FakeVmm

FakeT = TypeVar("FakeT", bound=type[FakeVmm])
#: By the clause that has to catch it.
BROKEN: dict[str, type[FakeVmm]] = {}


def caught_by(*clauses: str) -> Callable[[FakeT], FakeT]:
    def note(fake: FakeT) -> FakeT:
        for clause in clauses:
            assert clause not in BROKEN
            BROKEN[f"test_{clause}"] = fake
        return fake

    return note


def disks(spec: MachineSpec, change: Callable[[Disk], Disk]) -> MachineSpec:
    return evolve(spec, disks=tuple(map(change, spec.disks)))


def shares(spec: MachineSpec, change: Callable[[Share], Share]) -> MachineSpec:
    return evolve(spec, shares=tuple(map(change, spec.shares)))


def leak() -> None:
    """A process that a VMM has forgotten."""
    os.posix_spawnp("sleep", ["sleep", "600"], os.environ)


@caught_by("boots_a_root_in_a_folder")
class ServesAnEmptyFolder(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return shares(spec, lambda share: evolve(share, path=spec.directory))


@caught_by("boots_a_raw_disk")
class LosesDisks(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, disks=())


@caught_by("boots_a_vmdk_disk_of_two_extents", "boots_a_qcow2_disk")
class ReadsEveryDiskAsRaw(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return disks(spec, lambda disk: evolve(disk, format=DiskFormat.RAW))


@caught_by("mounts_every_file_system_that_it_claims")
class ClaimsNtfs(FakeVmm):
    claims = evolve(PROVIDER.capabilities, filesystems=frozenset({"erofs", "ntfs"}))


class Channel:
    """Passes on, with a change of what is read."""

    def __init__(self, inner: GuestChannel) -> None:
        self.inner = inner
        self.seen = 0

    async def read(self, limit: int) -> bytes:
        data = await self.inner.read(limit)
        self.seen += len(data)
        return self.alter(data)

    def alter(self, data: bytes) -> bytes:
        return data

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        await self.inner.write(*chunks)

    async def aclose(self) -> None:
        await self.inner.aclose()


class Shouting(Channel):
    def alter(self, data: bytes) -> bytes:
        return data.replace(b"out\n", b"OUT\n")


class Hanging(Channel):
    def alter(self, data: bytes) -> bytes:
        return data if self.seen < 2_000_000 else b""


class Silent(Channel):
    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        try:
            await self.inner.write(*chunks)
        except MachineError:
            return


def channelled(kind: type[Channel]) -> type[FakeMachine]:
    class ChannelMachine(FakeMachine):
        async def connect(self) -> GuestChannel:
            return kind(await self.inner.connect())

    return ChannelMachine


@caught_by("a_command_gives_output_exit_code_and_signal")
class ChangesWhatIsSaid(FakeVmm):
    machine = channelled(Shouting)


@caught_by("streams_of_some_mebibytes_are_intact_both_ways")
class CutsStreams(FakeVmm):
    machine = channelled(Hanging)


@caught_by("a_channel_ends_with_its_machine")
class SwallowsWrites(FakeVmm):
    machine = channelled(Silent)


@caught_by("the_guest_has_the_processors_asked_for")
class OneProcessor(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, vcpus=1)


@caught_by("the_guest_has_the_memory_asked_for")
class HalfTheMemory(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, memory=spec.memory // 2)


@caught_by("words_of_the_kernel_command_line_arrive_in_order")
class TurnsWords(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, cmdline=spec.cmdline[::-1])


@caught_by("several_machines_at_once")
class MixesMachinesUp(FakeVmm):
    first: tuple[str, ...] | None = None

    def change(self, spec: MachineSpec) -> MachineSpec:
        self.first = self.first or spec.cmdline
        return evolve(spec, cmdline=self.first)


@caught_by("a_disk_is_found_by_its_name")
class NamesDisksItself(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return disks(spec, lambda disk: disk if disk.name == "root" else evolve(disk, name=f"x{disk.name}"))


@caught_by("a_read_only_disk_cannot_be_written")
class LetsDisksBeWritten(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return disks(spec, lambda disk: disk if disk.name == "root" else evolve(disk, readonly=False))


@caught_by("a_writable_disk_keeps_what_is_written")
class ForgetsWrites(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        def copied(disk: Disk) -> Disk:
            copy = spec.directory / f"copy-{disk.name}"
            copy.write_bytes(disk.path.read_bytes())
            return evolve(disk, path=copy)

        return disks(spec, lambda disk: disk if disk.readonly else copied(disk))


@caught_by("a_share_is_read")
class SharesSomethingElse(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        other = Path(tempfile.mkdtemp(dir=spec.directory))
        return shares(spec, lambda share: evolve(share, path=other))


@caught_by("a_writable_share_is_written")
class SharesReadOnly(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return shares(spec, lambda share: evolve(share, readonly=True))


@caught_by("a_read_only_share_cannot_be_written")
class SharesWritable(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return shares(spec, lambda share: evolve(share, readonly=False))


@caught_by("a_share_of_a_file_and_a_hidden_folder")
class ShowsWhatIsHidden(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return shares(spec, lambda share: evolve(share, hidden=()))


@caught_by("without_a_network_there_is_none")
class AlwaysConnects(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, attachment=UserMode("02:4d:43:00:00:07"))


@caught_by(
    "a_tap_by_name_carries_frames_both_ways",
    "a_tap_by_descriptor_carries_frames_both_ways",
    "a_user_mode_interface_is_there",
)
class NeverConnects(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        if isinstance(spec.attachment, NoNetwork):
            return spec
        return evolve(spec, attachment=UserMode("02:4d:43:00:00:07"))


@caught_by("a_forwarded_port_reaches_the_guest")
class ForgetsForwards(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        attachment = spec.attachment
        forgotten = evolve(attachment, forwards=()) if isinstance(attachment, UserMode) else attachment
        return evolve(spec, attachment=forgotten)


@caught_by("the_console_is_the_owners_alone")
class ShowsTheConsole(FakeVmm):
    async def start(self, spec: MachineSpec) -> Machine:
        machine = await super().start(spec)
        spec.console.chmod(0o644)
        return machine


@caught_by("the_console_is_bounded")
class LetsTheConsoleGrow(FakeVmm):
    @classmethod
    def options(cls, given: QemuOptions) -> QemuOptions:
        return evolve(given, console_limit=64 * 1024 * 1024)


@caught_by("the_console_has_what_the_kernel_says")
class KeepsTheConsoleElsewhere(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        spec.console.touch(mode=0o600)
        return evolve(spec, console=spec.directory / "elsewhere.log")


class WrongPid(FakeMachine):
    @property
    def pid(self) -> int:
        return os.getpid()


@caught_by("the_process_of_a_running_machine_is_told")
class TellsAnotherProcess(FakeVmm):
    machine = WrongPid


class Once(FakeMachine):
    used = False

    async def connect(self) -> GuestChannel:
        if self.used:
            raise MachineError("one client is enough")
        self.used = True
        return await self.inner.connect()


@caught_by("a_client_that_closed_may_connect_again", "a_connect_cancelled_at_any_await_can_be_repeated")
class ConnectsOnce(FakeVmm):
    machine = Once


class SameChannel(FakeMachine):
    channel: GuestChannel | None = None

    async def connect(self) -> GuestChannel:
        self.channel = self.channel or await self.inner.connect()
        return self.channel


@caught_by("a_new_channel_closes_the_earlier_one")
class GivesOneChannelTwice(FakeVmm):
    machine = SameChannel


class NotStopping(FakeMachine):
    async def stop(self, grace: float) -> MachineExit:
        return MachineExit(MachineEnd.KILLED, "so they say")


class NotDying(FakeMachine):
    async def kill(self) -> MachineExit:
        return MachineExit(MachineEnd.KILLED, "so they say")


@caught_by("stop_ends_the_machine_as_killed", "stop_without_grace_kills_at_once")
class StopsNothing(FakeVmm):
    machine = NotStopping


@caught_by("kill_ends_the_machine_as_killed")
class KillsNothing(FakeVmm):
    machine = NotDying


class Patient(FakeMachine):
    async def stop(self, grace: float) -> MachineExit:
        await asyncio.sleep(grace)
        return await self.inner.stop(0)


@caught_by("a_stop_that_is_cancelled_kills")
class LetsRunWhenCancelled(FakeVmm):
    machine = Patient


class Misjudging(FakeMachine):
    async def wait(self) -> MachineExit:
        await self.inner.wait()
        return MachineExit(MachineEnd.KILLED, "as always")


@caught_by("a_guest_that_powers_off_is_a_shutdown", "a_process_killed_from_outside_is_a_failure")
class CallsEveryEndKilled(FakeVmm):
    machine = Misjudging


class Inconstant(FakeMachine):
    asked = 0

    async def wait(self) -> MachineExit:
        self.asked += 1
        return evolve(await self.inner.wait(), detail=f"asked {self.asked} times")


@caught_by("waiting_by_many_and_again_gives_one_value")
class TellsAnotherEndEachTime(FakeVmm):
    machine = Inconstant


class Ghost(FakeMachine):
    async def connect(self) -> GuestChannel:
        try:
            return await self.inner.connect()
        except MachineError as error:
            raise DeadlineExceeded("nobody answered") from error
        except DeadlineExceeded as error:
            raise MachineError("nobody answered") from error


@caught_by(
    "a_connect_after_the_end_fails",
    "an_agent_that_never_answers_exceeds_the_deadline",
    "a_machine_that_ends_before_its_agent_is_an_error",
)
class TakesTheWrongError(FakeVmm):
    machine = Ghost


@caught_by("a_key_that_runs_is_a_conflict", "two_starts_of_one_key_at_once_make_one_machine")
class GivesTheRunningOne(FakeVmm):
    def __init__(self, inner: Vmm) -> None:
        super().__init__(inner)
        self.started: dict[str, asyncio.Future[Machine]] = {}

    async def start(self, spec: MachineSpec) -> Machine:
        if spec.key not in self.started:
            self.started[spec.key] = asyncio.ensure_future(super().start(spec))
        return await self.started[spec.key]


@caught_by("a_key_may_be_used_again_after_its_end")
class KeysAreUsedUp(FakeVmm):
    def __init__(self, inner: Vmm) -> None:
        super().__init__(inner)
        self.used: set[str] = set()

    async def start(self, spec: MachineSpec) -> Machine:
        if spec.key in self.used:
            raise Conflict(f"{spec.key} was used")
        self.used.add(spec.key)
        return await super().start(spec)


@caught_by("an_unknown_key_is_removed_without_error", "a_repeated_removal_is_no_error")
class KnowsWhatItRemoves(FakeVmm):
    def __init__(self, inner: Vmm) -> None:
        super().__init__(inner)
        self.known: set[str] = set()

    async def start(self, spec: MachineSpec) -> Machine:
        self.known.add(spec.key)
        return await super().start(spec)

    async def remove(self, key: str) -> None:
        if key not in self.known:
            raise NotFound(f"no machine {key}")
        await super().remove(key)
        self.known.discard(key)


@caught_by("a_running_key_is_not_removed")
class RemovesWhatRuns(FakeVmm):
    async def remove(self, key: str) -> None:
        try:
            await super().remove(key)
        except Conflict:
            return


@caught_by("a_foreground_machine_dies_with_its_starter")
class AlwaysInTheBackground(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, foreground=False)


@caught_by(
    "a_background_machine_outlives_its_starter", "a_background_machine_outlives_a_starter_that_is_killed"
)
class AlwaysInTheForeground(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, foreground=True)


@caught_by("a_machine_of_another_instance_is_adopted")
class AdoptsNobody(FakeVmm):
    async def adopt(self, spec: MachineSpec) -> Machine | None:
        return None


@caught_by("an_unknown_key_is_not_adopted")
class AdoptionFails(FakeVmm):
    async def adopt(self, spec: MachineSpec) -> Machine | None:
        found = await super().adopt(spec)
        if found is None:
            raise NotFound(f"no machine {spec.key}")
        return found


@caught_by("an_ended_machine_is_not_adopted")
class AdoptsTheDead(FakeVmm):
    last: Machine | None = None

    async def start(self, spec: MachineSpec) -> Machine:
        self.last = await super().start(spec)
        return self.last

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        return self.last


@caught_by("a_specification_beyond_the_capabilities_is_unsupported")
class DropsDisksThatDoNotFit(FakeVmm):
    def change(self, spec: MachineSpec) -> MachineSpec:
        return evolve(spec, disks=spec.disks[: self.claims.max_disks])


@caught_by("a_missing_boot_disk_leaves_nothing", "a_missing_share_leaves_nothing")
class FailsWithItsOwnError(FakeVmm):
    async def start(self, spec: MachineSpec) -> Machine:
        try:
            return await super().start(spec)
        except MonocoreError as error:
            raise RuntimeError(error.brief) from error


@caught_by("a_missing_disk_leaves_nothing", "a_console_that_cannot_be_made_leaves_nothing")
class LeavesAProcessWhenItFails(FakeVmm):
    async def start(self, spec: MachineSpec) -> Machine:
        try:
            return await super().start(spec)
        except Unsupported:
            raise
        except MonocoreError:
            leak()
            raise


@caught_by("an_unreadable_disk_leaves_nothing")
class LeavesAFileWhenItFails(FakeVmm):
    async def start(self, spec: MachineSpec) -> Machine:
        (spec.directory / "half-made").touch()
        machine = await super().start(spec)
        (spec.directory / "half-made").unlink()
        return machine


@caught_by("a_start_cancelled_at_any_await_leaves_nothing")
class LeavesAProcessWhenCancelled(FakeVmm):
    async def start(self, spec: MachineSpec) -> Machine:
        try:
            return await super().start(spec)
        except asyncio.CancelledError:
            leak()
            raise


@caught_by("a_machine_leaves_nothing")
class LeavesADescriptor(FakeVmm):
    async def start(self, spec: MachineSpec) -> Machine:
        os.open("/dev/null", os.O_RDONLY)
        return await super().start(spec)


@caught_by("closing_the_vmm_leaves_nothing")
class LeavesADescriptorWhenClosed(FakeVmm):
    def __init__(self, inner: Vmm) -> None:
        super().__init__(inner)
        os.open("/dev/null", os.O_RDONLY)


@caught_by("a_prepared_shape_starts_as_a_copy")
class PreparesNothing(FakeVmm):
    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        return None


class Repeating(Channel):
    def alter(self, data: bytes) -> bytes:
        return re.sub(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"0" * 36, data)


class AlwaysTheSame(FakeMachine):
    async def connect(self) -> GuestChannel:
        return Repeating(await super().connect())


@caught_by("copies_have_no_secret_in_common")
class SharesSecrets(FakeVmm):
    machine = AlwaysTheSame


@caught_by("a_copy_has_its_own_disks")
class GivesTheFirstDiskAgain(FakeVmm):
    def __init__(self, inner: Vmm) -> None:
        super().__init__(inner)
        self.first: dict[str, Disk] = {}

    def change(self, spec: MachineSpec) -> MachineSpec:
        return disks(spec, lambda disk: self.first.setdefault(disk.name, disk))


@caught_by("a_repeated_prepare_does_nothing")
class PreparesAgainAndAgain(FakeVmm):
    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        done = await super().prepare(spec, greet)
        async with asyncio.timeout(60):
            machine = await self.start(spec)
            await greet(await machine.connect())
            await machine.kill()
            await self.remove(spec.key)
        return done


@caught_by("a_prepare_that_is_cancelled_leaves_nothing")
class ForksWhilePreparing(FakeVmm):
    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        leak()
        return await super().prepare(spec, greet)


class NotPausing(FakeMachine):
    async def pause(self) -> None:
        pass


@caught_by("a_paused_machine_answers_when_it_is_resumed")
class PausesNothing(FakeVmm):
    machine = NotPausing


class NeverEnded(FakeMachine):
    async def pause(self) -> None:
        with suppress(MachineError):
            await super().pause()


@caught_by("a_paused_machine_can_be_stopped")
class PausesWhatHasEnded(FakeVmm):
    machine = NeverEnded
