"""Clauses of the VMM contract on machines that are paused."""

from __future__ import annotations

import asyncio

import pytest

from monocore_core.errors import MachineError
from monocore_core.interfaces.vmm import Machine, PausableMachine
from monocore_core.model.machine import MachineEnd
from monocore_core.testing.contracts.vmm_base import PATIENCE, Bench, VmmFixtures
from monocore_core.testing.guests import connected, run
from monocore_core.testing.processes import alive

#: Seconds in which a guest that runs would have answered, and one that is paused must not.
_SILENCE = 1.0


class PauseClauses(VmmFixtures):
    """``capabilities.pausable``."""

    async def test_a_paused_machine_answers_when_it_is_resumed(self, bench: Bench) -> None:
        """``PausableMachine``: what is asked of a paused guest waits, and is lost by nobody; repeats do nothing."""
        bench.need(bench.capabilities.pausable, "that its machines can be paused")
        async with bench.sandbox(bench.root()) as (started, guest), asyncio.timeout(4 * PATIENCE):
            machine = _pausable(started)
            await machine.resume()  # it runs: nothing happens
            await guest.stats()
            await machine.pause()
            await machine.pause()
            asked = asyncio.create_task(guest.stats())
            done, _ = await asyncio.wait({asked}, timeout=_SILENCE)
            assert not done, "a paused guest has answered"
            assert alive(machine.pid)
            await machine.resume()
            await machine.resume()
            await asked
            assert (await run(guest, "echo here")).text == "here"

    async def test_a_paused_machine_can_be_stopped(self, bench: Bench) -> None:
        """``PausableMachine.pause``: it ends like any other, and an ended one cannot be paused."""
        bench.need(bench.capabilities.pausable, "that its machines can be paused")
        async with bench.started(bench.root()) as started, asyncio.timeout(4 * PATIENCE):
            machine = _pausable(started)
            async with connected(machine):
                await machine.pause()
            assert (await machine.stop(PATIENCE)).end is MachineEnd.KILLED
            assert not alive(machine.pid)
            with pytest.raises(MachineError):
                await machine.pause()
            with pytest.raises(MachineError):
                await machine.resume()


def _pausable(machine: Machine) -> PausableMachine:
    assert isinstance(machine, PausableMachine), "a machine that can be paused has no methods for it"
    return machine
