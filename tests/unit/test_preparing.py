"""When templates are asked for, and what becomes of a VMM that cannot make them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve

from monocore_core.errors import MachineError
from monocore_core.interfaces.vmm import Greeter, GuestChannel, Machine, Vmm
from monocore_core.model.events import Event, Warned
from monocore_core.model.machine import MachineSpec
from monocore_core.preparing import Preparer

SPEC = MachineSpec("k", "amd64", 1, 256 << 20, Path("/boot"), Path("/d"), Path("/d/console"))


class PlainVmm:
    """A VMM of before there were templates."""

    async def start(self, spec: MachineSpec) -> Machine:
        raise NotImplementedError

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        return None

    async def remove(self, key: str) -> None:
        return


class Making(PlainVmm):
    """Counts what it is asked for, and waits until it may go on."""

    def __init__(self, error: MachineError | None = None) -> None:
        self.error = error
        self.asked: list[MachineSpec] = []
        self.at_once = self.most = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        self.asked.append(spec)
        self.begun.set()
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.go.wait()
            if self.error is not None:
                raise self.error
            return None
        finally:
            self.at_once -= 1


class Settling(Making):
    """Makes those that are set up as well."""

    def __init__(self, reason: str | None = None, error: MachineError | None = None) -> None:
        super().__init__()
        self.reason, self.refuses = reason, error
        self.roles: list[str] = []

    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        self.asked.append(spec)
        return self.reason

    async def prepare_role(self, spec: MachineSpec, greet: Greeter, settle: Greeter) -> str | None:
        self.roles.append(spec.role)
        await settle(cast("GuestChannel", self))
        if self.refuses is not None:
            raise self.refuses
        return None


async def sets_up(channel: GuestChannel) -> None:
    assert isinstance(channel, Settling)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def preparer(events: list[Event]) -> Preparer:
    return Preparer(events.append, pause=0)


async def test_one_at_a_time_and_one_of_a_shape(preparer: Preparer) -> None:
    vmm = Making()
    for key in ("a", "b"):
        preparer.consider(vmm, evolve(SPEC, key=key))
        preparer.consider(vmm, evolve(SPEC, key=key, vcpus=2))
    vmm.go.set()
    await preparer.settled()
    assert [spec.vcpus for spec in vmm.asked] == [1, 2]
    assert vmm.most == 1
    preparer.consider(vmm, SPEC)  # the VMM knows whether there is one still
    await preparer.settled()
    assert len(vmm.asked) == 3


async def test_a_shape_that_failed_is_told_and_tried_again_after_longer_and_longer(
    events: list[Event],
) -> None:
    preparer = Preparer(events.append, pause=0, retry=0.2)
    vmm = Making(MachineError("the template ended"))
    vmm.go.set()
    asked: list[float] = []
    async with asyncio.timeout(20):
        while len(vmm.asked) < 3:
            before = len(vmm.asked)
            preparer.consider(vmm, SPEC)
            await preparer.settled()
            asked += [time.monotonic()] if len(vmm.asked) > before else []
            await asyncio.sleep(0.01)
    assert asked[1] - asked[0] >= 0.2
    assert asked[2] - asked[1] >= 0.4
    assert len(events) == 3


async def test_a_shape_that_failed_is_told_once_and_not_tried_again_at_once(
    preparer: Preparer, events: list[Event]
) -> None:
    vmm = Making(MachineError("the template ended"))
    vmm.go.set()
    for _ in range(2):
        preparer.consider(vmm, SPEC)
        await preparer.settled()
    assert len(vmm.asked) == 1
    (event,) = events
    assert isinstance(event, Warned)
    assert "the template ended" in event.text
    preparer.consider(vmm, evolve(SPEC, memory=512 << 20))
    await preparer.settled()
    assert len(vmm.asked) == 2


async def test_closing_gives_up_what_is_under_way(preparer: Preparer, events: list[Event]) -> None:
    vmm = Making()
    preparer.consider(vmm, SPEC)
    preparer.consider(vmm, evolve(SPEC, vcpus=2))
    async with asyncio.timeout(10):
        await vmm.begun.wait()
        await preparer.aclose()
        await preparer.aclose()
    assert len(vmm.asked) == 1
    assert vmm.at_once == 0
    assert not events


async def test_nothing_is_asked_before_the_pause_is_over(events: list[Event]) -> None:
    preparer, vmm = Preparer(events.append, pause=3600), Making()
    preparer.consider(vmm, SPEC)
    await asyncio.sleep(0)
    await preparer.aclose()
    assert not vmm.asked


async def test_a_vmm_without_templates_is_left_alone(preparer: Preparer) -> None:
    vmm: Vmm = PlainVmm()
    preparer.consider(vmm, SPEC)
    async with asyncio.timeout(10):
        await preparer.settled()


async def started(preparer: Preparer, vmm: Vmm, role: str, times: int = 2) -> None:
    for _ in range(times):
        preparer.consider(vmm, evolve(SPEC, role=role), sets_up)
        await preparer.settled()


async def test_a_role_is_prepared_when_it_is_started_again_and_there_is_a_template(
    preparer: Preparer,
) -> None:
    vmm = Settling()
    await started(preparer, vmm, "one", 1)
    assert not vmm.roles
    await started(preparer, vmm, "two")
    await started(preparer, vmm, "one", 1)
    preparer.consider(vmm, SPEC)
    await preparer.settled()
    assert vmm.roles == ["two", "one"]
    without = Settling("folders are shared with it")
    await started(preparer, without, "one")
    assert len(without.asked) == 2
    assert not without.roles


async def test_what_was_started_long_ago_is_started_for_the_first_time(preparer: Preparer) -> None:
    vmm = Settling()
    for role in ("one", *map(str, range(64)), "one"):
        await started(preparer, vmm, role, 1)
    assert not vmm.roles


async def test_a_vmm_that_sets_nothing_up_is_not_asked_to(preparer: Preparer, events: list[Event]) -> None:
    vmm = Making()
    vmm.go.set()
    await started(preparer, vmm, "one")
    assert len(vmm.asked) == 2
    assert not events


async def test_a_role_that_failed_is_told_once_and_does_not_stand_against_another(
    preparer: Preparer, events: list[Event]
) -> None:
    vmm = Settling(error=MachineError("it ended"))
    for role in ("one", "two"):
        await started(preparer, vmm, role, 3)
    assert vmm.roles == ["one", "two"]
    assert [event.text for event in events if isinstance(event, Warned)] == [
        "no template could be made, sandboxes of this image are set up one by one: it ended"
    ] * 2
