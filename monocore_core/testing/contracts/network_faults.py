"""Clauses of the network contract on what goes wrong: cancellation, crashes, missing programs, several instances, leaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import MonocoreError
from monocore_core.interfaces.network import Network
from monocore_core.testing.cancelling import every_suspension
from monocore_core.testing.contracts.network_base import (
    OTHER,
    WEB,
    NetworkFixtures,
    Stand,
    Traces,
    new_key,
    plain,
)
from monocore_core.testing.contracts.starter import NetworkOrder, Starter, Then


class NetworkFaultClauses(NetworkFixtures):
    """What must not happen when something fails."""

    async def test_attach_and_detach_leave_nothing(self, stand: Stand) -> None:
        """``detach`` removes everything made for the key: processes, descriptors, links, rules, files."""
        await stand.network.detach(await self._attached(stand, new_key()))  # what is made once is made now
        before = Traces.of(stand)
        keys = [new_key() for _ in range(3)]
        for key in keys:
            await stand.network.detach(await self._attached(stand, key))
        await before.check(*keys)

    async def test_an_attach_cancelled_at_any_await_is_undone(self, stand: Stand) -> None:
        """Cancellation of ``attach``: nothing exists; the same attach then works."""
        await stand.network.detach(await self._attached(stand, new_key()))
        key = new_key()
        before = Traces.of(stand)
        async for step in every_suspension(lambda: stand.network.attach(key, WEB)):
            if step.finished:  # it came too late, and what was done is done
                await stand.network.detach(key)
            assert key not in await stand.network.keys(), f"cancelled at suspension {step.number}"
            await before.check(key)
        await stand.network.attach(key, OTHER)

    async def test_a_detach_cancelled_at_any_await_is_finished_by_a_repeat(self, stand: Stand) -> None:
        """Cancellation of ``detach``: a repeat finishes it."""
        key = new_key()
        await stand.network.detach(await self._attached(stand, new_key()))
        before = Traces.of(stand)
        await stand.network.attach(key, WEB)
        async for _ in every_suspension(lambda: stand.network.detach(key)):
            await stand.network.detach(key)
            assert key not in await stand.network.keys()
            await before.check(key)
            await stand.network.attach(key, WEB)

    async def test_two_instances_on_one_state_agree(self, stand: Stand) -> None:
        """What one has attached, the other knows, gives again, and removes."""
        key = new_key()
        first = await stand.network.attach(key, WEB)
        async with stand.again() as other:
            assert plain(await other.attach(key, WEB)) == plain(first)
            assert await other.keys() == await stand.network.keys()
        async with stand.again() as third:  # which has attached nothing itself
            await third.detach(key)
        assert key not in await stand.network.keys()

    async def test_a_connection_outlives_the_instance(self, stand: Stand) -> None:
        """A sandbox outlives the process that started it: closing removes nothing, a repeat finds it again."""
        key = new_key()
        async with stand.again() as first:
            made = await first.attach(key, WEB)
            known = key in await first.keys()
        assert (key in await stand.network.keys()) is known
        assert plain(await stand.network.attach(key, WEB)) == plain(made)

    async def test_what_a_killed_process_has_attached_can_be_removed(self, stand: Stand) -> None:
        """``keys`` and ``detach`` after a crash: nothing of it stays."""
        await stand.network.detach(await self._attached(stand, new_key()))
        before = Traces.of(stand)
        key = new_key()
        order = NetworkOrder(stand.provider, stand.options, stand.host, key, WEB, Then.STAY)
        async with Starter(order) as starter:
            starter.kill()
            await starter.left()
            await stand.network.detach(key)
        assert key not in await stand.network.keys()
        await before.check(key)

    async def test_what_a_killed_process_has_attached_stays_attached(self, stand: Stand) -> None:
        """An attachment lives until ``detach``, whoever made it: others find it, give it again, and remove it."""
        key, other = new_key(), await self._attached(stand, new_key())
        await stand.kept(other)
        await stand.network.detach(other)
        before = Traces.of(stand)
        order = NetworkOrder(stand.provider, stand.options, stand.host, key, WEB, Then.STAY)
        async with Starter(order) as starter:
            starter.kill()
            await starter.left()
        await stand.network.detach(await self._attached(stand, new_key()))  # others come and go
        assert key in await stand.network.keys()
        async with stand.again() as later:
            status = await later.inspect(key)
            assert status is not None
            assert plain(await later.attach(key, WEB)) == plain(status.connection)
        async with stand.again() as last:
            await last.detach(key)
        assert key not in await stand.network.keys()
        await before.check(key)

    async def test_a_cancelled_repeat_leaves_what_is_attached(self, stand: Stand) -> None:
        """Cancellation of a repeated ``attach``: what it has not made, it does not undo."""
        key = new_key()
        made = await stand.network.attach(key, WEB)
        await stand.kept(key)
        async with stand.again() as other:
            async for step in every_suspension(lambda: other.attach(key, WEB)):
                assert key in await stand.network.keys(), f"cancelled at suspension {step.number}"
        assert plain(await stand.network.attach(key, WEB)) == plain(made)

    async def test_without_programs_an_attach_fails_cleanly(
        self, stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Partial failure, with an empty PATH: it works, or raises a MonocoreError and leaves nothing."""
        before = Traces.of(stand)
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        async with stand.again() as network:
            await self._works_or_fails(network, stand)
        await before.check()

    async def test_with_an_unusable_state_folder_an_attach_fails_cleanly(self, stand: Stand) -> None:
        """Partial failure, with a file in place of the folder: it works, or raises a MonocoreError and leaves nothing."""
        before = Traces.of(stand)
        broken = stand.host.cache / "file"
        broken.write_bytes(b"")
        host = evolve(stand.host, state=broken)
        try:
            async with stand.provider.create(host, stand.options) as network:
                await self._works_or_fails(network, stand)
        except MonocoreError:
            pass  # a network that needs the folder may say so when it is opened
        broken.unlink()
        await before.check()

    @staticmethod
    async def _works_or_fails(network: Network, stand: Stand) -> None:
        key = new_key()
        before = Traces.of(stand)
        try:
            await network.attach(key, WEB)
        except MonocoreError:
            await before.check(key)
        else:
            await network.detach(key)

    @staticmethod
    async def _attached(stand: Stand, key: str) -> str:
        await stand.network.attach(key, WEB)
        return key
