"""When spare machines are made, of which shapes, and when they are ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import define, evolve, field

from monocore_core.errors import MachineError
from monocore_core.interfaces.vmm import Greeter, GuestChannel, Machine
from monocore_core.metrics.pressure import HostMemory, read_host_memory, stalled_of
from monocore_core.model.events import Event, Warned
from monocore_core.model.machine import MachineSpec, Spare
from monocore_core.model.pool import MIB, PoolSettings
from monocore_core.pooling import AGAIN, FAILURES, PAUSE, Pool

SPEC = MachineSpec("k", "amd64", 1, 256 << 20, Path("/boot"), Path("/d"), Path("/d/console"))
OTHER = evolve(SPEC, memory=512 << 20)
PLENTY = HostMemory(1 << 40, 0.0)


@define(eq=False)
class Stocking:
    """A VMM that keeps what it is told to, or says why not."""

    answers: list[str | MachineError] = field(factory=list[str | MachineError])
    kept: list[Spare] = field(factory=list[Spare])
    made: int = 0

    async def start(self, spec: MachineSpec) -> Machine:
        raise NotImplementedError

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        return None

    async def remove(self, key: str) -> None:
        return

    async def prepare(self, spec: MachineSpec, greet: Greeter) -> str | None:
        return None

    async def stock(self, spec: MachineSpec, greet: Greeter, settle: Greeter | None = None) -> Spare | str:
        assert bool(spec.role) == (settle is not None)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, MachineError):
                raise answer
            return answer
        self.made += 1
        spare = Spare(f"s{self.made}", str(spec.memory), self.made, spec.role)
        self.kept.append(spare)
        return spare

    def spares(self) -> tuple[Spare, ...]:
        return tuple(self.kept)

    async def unstock(self, spare: str) -> None:
        self.kept = [one for one in self.kept if one.id != spare]

    def of(self, spec: MachineSpec) -> int:
        return sum((one.shape, one.role) == (str(spec.memory), spec.role) for one in self.kept)


async def nothing(_: GuestChannel) -> None:
    """Set nothing up."""


@define(eq=False)
class World:
    """A pool, its VMM, and what is around them."""

    settings: PoolSettings
    vmm: Stocking = field(factory=Stocking)
    now: float = 1000.0
    memory: HostMemory = PLENTY
    weight: int = 40 * MIB
    events: list[Event] = field(factory=list[Event])
    pool: Pool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = Pool(
            self.settings, self.events.append, lambda: self.memory, lambda _: self.weight, lambda: self.now
        )

    def started(self, spec: MachineSpec) -> None:
        with self.pool.starting():
            self.pool.consider(self.vmm, spec, nothing if spec.role else None)

    async def settle(self) -> None:
        """Let it do everything that is to be done now."""
        self.now += PAUSE
        for _ in range(100):
            if not await self.pool.step():
                return
        raise AssertionError("it does not come to rest")


async def test_every_shape_that_is_started_has_its_spares_and_what_was_taken_is_made_up_for() -> None:
    world = World(PoolSettings(size=2))
    await world.settle()
    assert not world.vmm.kept
    world.started(SPEC)
    world.started(OTHER)
    await world.settle()
    assert (world.vmm.of(SPEC), world.vmm.of(OTHER)) == (2, 2)
    del world.vmm.kept[0]
    await world.settle()
    assert (world.vmm.of(SPEC), world.vmm.of(OTHER)) == (2, 2)
    told = world.pool.shapes()
    assert [(one.memory, one.ready, one.bytes) for one in told] == [
        (SPEC.memory, 2, 80 * MIB),
        (OTHER.memory, 2, 80 * MIB),
    ]


async def test_roles_have_spares_of_their_own_and_one_of_the_shape_is_there_for_others() -> None:
    world = World(PoolSettings(size=2))
    first, second = (evolve(SPEC, role=role) for role in ("one", "two"))
    world.started(first)
    await world.settle()
    assert (world.vmm.of(first), world.vmm.of(SPEC)) == (2, 1)
    world.started(second)
    await world.settle()
    assert (world.vmm.of(first), world.vmm.of(second), world.vmm.of(SPEC)) == (2, 2, 1)
    told = world.pool.shapes()
    assert [(one.settled, one.wanted, one.ready) for one in told] == [
        (True, 2, 2),
        (False, 1, 1),
        (True, 2, 2),
    ]
    world.vmm.kept = [spare for spare in world.vmm.kept if spare.role == "one"]
    await world.settle()
    assert (world.vmm.of(first), world.vmm.of(second), world.vmm.of(SPEC)) == (2, 2, 1)


async def test_roles_that_were_not_started_for_long_or_are_too_many_lose_theirs_and_the_shape_its_own_is_as_many_again() -> (
    None
):
    world = World(PoolSettings(size=2, shapes=2, idle=60))
    roles = [evolve(SPEC, role=role) for role in ("one", "two")]
    for spec in roles:
        world.started(spec)
        await world.settle()
    assert [world.vmm.of(spec) for spec in (*roles, SPEC)] == [0, 2, 1]
    world.now += 59
    world.started(SPEC)
    world.now += 2
    await world.settle()
    assert [world.vmm.of(spec) for spec in (*roles, SPEC)] == [0, 0, 2]


async def test_without_a_size_nothing_is_kept() -> None:
    world = World(PoolSettings())
    world.started(SPEC)
    await world.settle()
    assert not world.vmm.made
    assert not world.pool.shapes()


async def test_none_is_made_while_something_is_started_nor_at_once_afterwards() -> None:
    world = World(PoolSettings(size=1))
    world.started(SPEC)
    with world.pool.starting():
        world.now += 10
        assert not await world.pool.step()
    before = world.vmm.made
    world.now += PAUSE
    assert await world.pool.step()
    assert (before, world.vmm.made) == (0, 1)


async def test_starts_without_end_do_not_keep_it_from_making_any() -> None:
    world = World(PoolSettings(size=1))
    for _ in range(100):
        world.now += PAUSE / 2
        world.started(SPEC)
        await world.pool.step()
    assert world.vmm.made == 1


async def test_a_shape_that_nobody_starts_any_more_has_none() -> None:
    world = World(PoolSettings(size=2, idle=60))
    world.started(SPEC)
    await world.settle()
    world.now += 30
    world.started(OTHER)
    await world.settle()
    world.now += 31
    await world.settle()
    assert (world.vmm.of(SPEC), world.vmm.of(OTHER)) == (0, 2)
    world.now += 60
    await world.settle()
    assert not world.vmm.kept


async def test_only_the_shapes_that_were_started_last_have_any() -> None:
    world = World(PoolSettings(size=1, shapes=1))
    world.started(SPEC)
    await world.settle()
    world.started(OTHER)
    await world.settle()
    assert (world.vmm.of(SPEC), world.vmm.of(OTHER)) == (0, 1)


@pytest.mark.parametrize("short", [HostMemory(100 * MIB, 0.0), HostMemory(1 << 40, 50.0)])
async def test_they_give_way_when_the_host_is_short_of_memory_and_come_back(short: HostMemory) -> None:
    world = World(PoolSettings(size=3, reserve=1024 * MIB, pressure=10))
    world.started(SPEC)
    await world.settle()
    world.memory = short
    await world.settle()
    assert not world.vmm.kept
    assert "short of memory" in world.pool.shapes()[0].reason
    world.memory = PLENTY
    world.now += 10
    await world.settle()
    assert world.vmm.of(SPEC) == 3
    assert not world.pool.shapes()[0].reason


async def test_none_is_made_that_would_leave_the_host_too_little() -> None:
    world = World(PoolSettings(size=1, reserve=1024 * MIB))
    world.memory = HostMemory(1030 * MIB, 0.0)
    world.started(SPEC)
    await world.settle()
    assert not world.vmm.made


async def test_together_they_take_no_more_than_they_may() -> None:
    world = World(PoolSettings(size=10, memory=130 * MIB))
    world.started(SPEC)
    await world.settle()
    assert world.vmm.of(SPEC) == 3
    assert "as much memory as they may" in world.pool.shapes()[0].reason


async def test_a_reason_against_it_is_asked_about_again_later_and_later() -> None:
    world = World(PoolSettings(size=1), Stocking(answers=["there is no template yet"] * 2))
    world.started(SPEC)
    await world.settle()
    assert world.pool.shapes()[0].reason == "there is no template yet"
    await world.settle()
    assert len(world.vmm.answers) == 1
    world.now += AGAIN
    await world.settle()
    assert not world.vmm.answers
    world.now += 2 * AGAIN
    await world.settle()
    assert world.vmm.of(SPEC) == 1


async def test_a_shape_that_fails_again_and_again_is_given_up_and_told() -> None:
    world = World(PoolSettings(size=1), Stocking(answers=[MachineError("it died")] * (FAILURES + 1)))
    world.started(SPEC)
    for _ in range(20):
        world.now += 100
        await world.settle()
    assert len(world.vmm.answers) == 1
    assert [event.text for event in world.events if isinstance(event, Warned)] == [
        "no spare machines are kept of a shape any more: it died"
    ]


def test_the_hosts_memory(tmp_path: Path) -> None:
    assert stalled_of(b"some avg10=12.50 avg60=1.00 total=1\nfull avg10=99.0") == 12.5
    assert stalled_of(b"some avg10=no\n") == 0.0
    assert read_host_memory(tmp_path) == HostMemory(1 << 62, 0.0)
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   64 kB\n")
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "memory").write_text("some avg10=3.00 avg60=0 avg300=0 total=0\n")
    assert read_host_memory(tmp_path) == HostMemory(64 * 1024, 3.0)
