"""Clauses of the VMM contract on a machine's life: begin, end, forget, outlive, adopt."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from attrs import evolve

from monocore_core.errors import Conflict, MachineError
from monocore_core.interfaces.vmm import Machine
from monocore_core.model.machine import MachineEnd, MachineSpec
from monocore_core.testing.contracts.starter import MachineOrder, Starter, Then
from monocore_core.testing.contracts.vmm_base import PATIENCE, Before, Bench, VmmFixtures, root_of
from monocore_core.testing.guests import connected, run
from monocore_core.testing.processes import alive, ended

#: Seconds that a machine gets to stop.
_GRACE = 10.0


class LifeClauses(VmmFixtures):
    """How machines begin and end."""

    async def test_stop_ends_the_machine_as_killed(self, bench: Bench) -> None:
        """``Machine.stop``: the process is gone when it returns, and it was us."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(_GRACE + PATIENCE):
            assert (await machine.stop(_GRACE)).end is MachineEnd.KILLED
            assert not alive(machine.pid)

    async def test_stop_without_grace_kills_at_once(self, bench: Bench) -> None:
        """``Machine.stop(0)``."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(PATIENCE):
            assert (await machine.stop(0)).end is MachineEnd.KILLED
            assert not alive(machine.pid)

    async def test_kill_ends_the_machine_as_killed(self, bench: Bench) -> None:
        """``Machine.kill``."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(PATIENCE):
            assert (await machine.kill()).end is MachineEnd.KILLED
            assert not alive(machine.pid)

    async def test_a_stop_that_is_cancelled_kills(self, bench: Bench) -> None:
        """``Machine.stop``, cancellation: the machine is killed, however long its grace was."""
        async with bench.started(bench.root()) as machine:
            stopping = asyncio.create_task(machine.stop(10 * PATIENCE))
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait([stopping], timeout=PATIENCE)
            assert stopping.done()
            assert await ended(machine.pid, PATIENCE), "the machine runs on"

    async def test_a_guest_that_powers_off_is_a_shutdown(self, bench: Bench) -> None:
        """``MachineEnd.SHUTDOWN``."""
        async with bench.started(bench.root()) as machine:
            async with connected(machine) as guest:
                await guest.shutdown(1)
            assert await self._end(machine) is MachineEnd.SHUTDOWN

    async def test_a_process_killed_from_outside_is_a_failure(self, bench: Bench) -> None:
        """``MachineEnd.FAILED``: a signal that was not ours, told in ``detail``."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(3 * PATIENCE):
            await (await machine.connect()).aclose()
            os.kill(machine.pid, signal.SIGKILL)
            assert await self._end(machine) is MachineEnd.FAILED
            assert (await machine.wait()).detail.strip(), "the detail says nothing"

    async def test_waiting_by_many_and_again_gives_one_value(self, bench: Bench) -> None:
        """``Machine.wait``: many, before and after the end, one of them cancelled; stop and kill then only report."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(3 * PATIENCE):
            waiting = [asyncio.create_task(machine.wait()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting.pop().cancel()
            first = await machine.kill()
            ends = [*await asyncio.gather(*waiting), await machine.wait(), await machine.wait()]
            ends += [await machine.stop(1), await machine.kill()]
            assert ends == [first] * len(ends)

    async def test_a_channel_ends_with_its_machine(self, bench: Bench) -> None:
        """``GuestChannel``: a read gives ``b""``, a write raises MachineError."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(3 * PATIENCE):
            channel = await machine.connect()
            await machine.kill()
            while await channel.read(65536):
                pass
            with pytest.raises(MachineError):
                await channel.write(*[bytes(65536)] * 1000)  # a transport may take some before it notices

    async def test_a_connect_after_the_end_fails(self, bench: Bench) -> None:
        """``Machine.connect``: MachineError when the machine ended."""
        async with bench.started(bench.root()) as machine, asyncio.timeout(PATIENCE):
            await machine.kill()
            with pytest.raises(MachineError):
                await machine.connect()

    async def test_a_key_that_runs_is_a_conflict(self, bench: Bench) -> None:
        """``Vmm.start``; the machine that runs is left alone."""
        spec = bench.root()
        async with bench.started(spec) as machine:
            with pytest.raises(Conflict):
                await bench.vmm.start(spec)
            assert alive(machine.pid)
            async with connected(machine) as guest:
                await guest.stats()

    async def test_two_starts_of_one_key_at_once_make_one_machine(self, bench: Bench) -> None:
        """``Vmm.start``: concurrent."""
        spec = bench.root()
        before = Before.of(bench)
        try:
            async with asyncio.timeout(3 * PATIENCE):
                made = await asyncio.gather(
                    *(bench.vmm.start(spec) for _ in range(3)), return_exceptions=True
                )
            machines = [each for each in made if not isinstance(each, BaseException)]
            assert len(machines) == 1
            assert all(isinstance(each, Conflict) for each in made if isinstance(each, BaseException)), made
            await machines[0].kill()
            await before.check_processes()
        finally:
            for pid in bench.processes() - before.processes:
                os.kill(pid, signal.SIGKILL)
            await bench.vmm.remove(spec.key)

    async def test_several_machines_at_once(self, bench: Bench) -> None:
        """``Vmm``: methods may run concurrently; each machine is its own."""
        specs = [evolve(bench.root(), cmdline=(f"contract.number={number}",)) for number in range(3)]

        async def one(spec: MachineSpec) -> str:
            async with bench.sandbox(spec) as (_, guest):
                return (
                    await run(guest, "tr -d '\"' < /proc/cmdline | tr ' ' '\\n' | grep contract.number")
                ).text

        assert await asyncio.gather(*map(one, specs)) == [spec.cmdline[0] for spec in specs]

    async def test_a_key_may_be_used_again_after_its_end(self, bench: Bench) -> None:
        """``Vmm.start`` after ``remove``: the sandbox is started again, on the same folder."""
        spec = bench.root()
        for _ in range(2):
            async with bench.started(spec) as machine, connected(machine) as guest:
                assert not guest.ready

    async def test_an_unknown_key_is_removed_without_error(self, bench: Bench) -> None:
        """``Vmm.remove``."""
        await bench.vmm.remove(bench.kit.spec().key)

    async def test_a_repeated_removal_is_no_error(self, bench: Bench) -> None:
        """``Vmm.remove`` twice; two at once."""
        spec = bench.root()
        async with bench.started(spec) as machine:
            await machine.kill()
            await asyncio.gather(bench.vmm.remove(spec.key), bench.vmm.remove(spec.key))
            await bench.vmm.remove(spec.key)

    async def test_a_running_key_is_not_removed(self, bench: Bench) -> None:
        """``Vmm.remove``: Conflict, and the machine runs on."""
        spec = bench.root()
        async with bench.started(spec) as machine:
            with pytest.raises(Conflict):
                await bench.vmm.remove(spec.key)
            assert alive(machine.pid)

    async def test_a_foreground_machine_dies_with_its_starter(self, bench: Bench) -> None:
        """``spec.foreground``: also when the starter is killed."""
        before = Before.of(bench)
        spec = evolve(bench.root(), foreground=True)
        async with Starter(self._order(bench, spec, Then.STAY)) as starter:
            assert alive(starter.machine)
            starter.kill()
            try:
                assert await ended(starter.machine, PATIENCE), "the machine has outlived its starter"
                await before.check_processes()
            finally:
                _end(bench, before)
        await bench.vmm.remove(spec.key)

    async def test_a_background_machine_outlives_its_starter(self, bench: Bench) -> None:
        """``capabilities.adoptable``: found by its key when the starter has closed its VMM and ended."""
        await self._adopted(bench, Then.CLOSE)

    async def test_a_background_machine_outlives_a_starter_that_is_killed(self, bench: Bench) -> None:
        """``capabilities.adoptable``: found by its key after a crash; its guest is as it was."""
        await self._adopted(bench, Then.STAY)

    async def _adopted(self, bench: Bench, then: Then) -> None:
        bench.need(bench.capabilities.adoptable, "that its machines can be adopted")
        before = Before.of(bench)
        spec = evolve(bench.root(), foreground=False)
        try:
            async with Starter(self._order(bench, spec, then)) as starter:
                if then is Then.STAY:
                    starter.kill()
                await starter.left()
                machine = await bench.vmm.adopt(spec)
                assert machine is not None, "the machine was not found again"
                assert machine.pid == starter.machine
                async with connected(machine) as guest:
                    await guest.setup(bench.kit.setup(root_of(spec)))
                    assert (await run(guest, "echo here")).text == "here"
                with pytest.raises(Conflict):
                    await bench.vmm.start(spec)
                with pytest.raises(Conflict):
                    await bench.vmm.remove(spec.key)
                assert (await machine.kill()).end is MachineEnd.KILLED
                await before.check_processes()
        finally:
            _end(bench, before)
        assert await bench.vmm.adopt(spec) is None, "an ended machine was adopted"
        await bench.vmm.remove(spec.key)

    async def test_a_machine_of_another_instance_is_adopted(self, bench: Bench) -> None:
        """``capabilities.adoptable``: closing a VMM lets background machines run; the next instance finds them."""
        bench.need(bench.capabilities.adoptable, "that its machines can be adopted")
        before = Before.of(bench)
        spec = evolve(bench.root(), foreground=False)
        try:
            async with bench.provider.create(bench.host, bench.options) as first:
                pid = (await first.start(spec)).pid
            machine = await bench.vmm.adopt(spec)
            assert machine is not None, "the machine was not found again"
            assert machine.pid == pid
            await machine.kill()
        finally:
            _end(bench, before)
        await bench.vmm.remove(spec.key)

    async def test_an_unknown_key_is_not_adopted(self, bench: Bench) -> None:
        """``Vmm.adopt``: None."""
        assert await bench.vmm.adopt(bench.root()) is None

    async def test_an_ended_machine_is_not_adopted(self, bench: Bench) -> None:
        """``Vmm.adopt``: None, before its removal and after."""
        spec = bench.root()
        async with bench.started(spec) as machine:
            await machine.kill()
            assert await bench.vmm.adopt(spec) is None
            await bench.vmm.remove(spec.key)
            assert await bench.vmm.adopt(spec) is None

    @staticmethod
    def _order(bench: Bench, spec: MachineSpec, then: Then) -> MachineOrder:
        return MachineOrder(bench.provider, bench.options, bench.host, spec, then)

    @staticmethod
    async def _end(machine: Machine) -> MachineEnd:
        async with asyncio.timeout(2 * PATIENCE):
            return (await machine.wait()).end


def _end(bench: Bench, before: Before) -> None:
    """End what a failed clause has left, so that the next is not blamed."""
    for pid in bench.processes() - before.processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
