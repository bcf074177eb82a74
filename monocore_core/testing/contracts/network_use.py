"""Clauses of the network contract on what is handed out: connect, repeat, disconnect, and a real guest that uses it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.errors import Conflict
from monocore_core.guest.client import Guest
from monocore_core.interfaces.provider import Host, VmmProvider
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import AttachmentKind, GuestNetwork, NoNetwork, Tap
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_core.testing.contracts.network_base import OTHER, WEB, NetworkFixtures, Stand, new_key, plain
from monocore_core.testing.contracts.vmm_base import PATIENCE, guest_kit, root_of
from monocore_core.testing.guests import GuestKit, connected, interface_script, run


class NetworkUseClauses(NetworkFixtures):
    """What a sandbox gets."""

    async def test_it_attaches_what_it_claims(self, stand: Stand) -> None:
        """``capabilities.attachment``."""
        connection = await stand.network.attach(new_key(), WEB)
        assert connection.attachment.kind is stand.provider.capabilities.attachment

    async def test_the_guests_configuration_fits_the_attachment(self, stand: Stand) -> None:
        """``Connection.guest``: of the device's address; its gateways are near.

        They are in the networks of its addresses, or the addresses stand alone (``/32``, ``/128``) and the gateways are on the link.
        """
        connection = await stand.network.attach(new_key(), WEB)
        guest, attachment = connection.guest, connection.attachment
        if isinstance(attachment, NoNetwork):
            assert guest is None, "a guest without a device has nothing to configure"
            return
        assert guest is not None
        assert guest.mac == attachment.mac
        assert guest.addresses
        for gateway in filter(None, (guest.gateway4, guest.gateway6)):
            address = ip_address(gateway)
            near = any(
                address in each.network
                or (each.version == address.version and each.network.num_addresses == 1)
                for each in guest.addresses
            )
            assert near, f"gateway {gateway} is in no network of {guest.addresses}"
        if isinstance(attachment, Tap):
            assert guest.mtu <= attachment.mtu

    async def test_a_repeat_gives_an_equal_connection(self, stand: Stand) -> None:
        """``attach`` with an equal request."""
        key = new_key()
        first = await stand.network.attach(key, WEB)
        assert plain(await stand.network.attach(key, evolve(WEB))) == plain(first)

    async def test_a_repeat_at_once_gives_an_equal_connection(self, stand: Stand) -> None:
        """``attach``: concurrent, of one key."""
        key = new_key()
        made = await asyncio.gather(*(stand.network.attach(key, WEB) for _ in range(4)))
        assert all(plain(each) == plain(made[0]) for each in made)

    async def test_another_request_is_a_conflict(self, stand: Stand) -> None:
        """``attach`` with another request: Conflict, and the connection stays as it is."""
        key = new_key()
        first = await stand.network.attach(key, WEB)
        await stand.kept(key)
        with pytest.raises(Conflict) as caught:
            await stand.network.attach(key, OTHER)
        assert caught.value.brief.strip()
        assert plain(await stand.network.attach(key, WEB)) == plain(first)

    async def test_sandboxes_at_once_do_not_share_a_device(self, stand: Stand) -> None:
        """``attach``: concurrent, of several keys; in a segment that they share, each has its own name and addresses."""
        keys = [new_key() for _ in range(4)]
        made = await asyncio.gather(
            *(
                stand.network.attach(key, evolve(WEB, hostname=f"web{number}"))
                for number, key in enumerate(keys)
            )
        )
        taps = [each.attachment for each in made if isinstance(each.attachment, Tap)]
        assert len({tap.name for tap in taps}) == len(taps)
        assert len({tap.mac for tap in taps}) == len(taps)
        if taps:
            addresses = [address.ip for each in made if each.guest for address in each.guest.addresses]
            assert len(set(addresses)) == len(addresses)

    async def test_keys_are_those_of_which_something_exists(self, stand: Stand) -> None:
        """``keys``: after ``attach``, and not after ``detach``; another key's removal changes nothing."""
        one, two = new_key(), new_key()
        before = await stand.network.keys()
        first = await stand.network.attach(one, WEB)
        await stand.kept(one)
        await stand.network.attach(two, OTHER)
        assert await stand.network.keys() == before | {one, two}
        await stand.network.detach(two)
        assert await stand.network.keys() == before | {one}
        assert plain(await stand.network.attach(one, WEB)) == plain(first)
        await stand.network.detach(one)
        assert await stand.network.keys() == before

    async def test_it_tells_of_what_is_attached(self, stand: Stand) -> None:
        """``inspect``: what was asked and what was given; None for an unknown key, and for one that has been detached."""
        key = new_key()
        connection = await stand.network.attach(key, WEB)
        assert await stand.network.inspect(new_key()) is None
        await stand.kept(key)
        status = await stand.network.inspect(key)
        assert status is not None
        assert (status.key, status.request) == (key, WEB)
        assert plain(status.connection) == plain(connection)
        await stand.network.detach(key)
        assert await stand.network.inspect(key) is None

    async def test_an_unknown_key_is_detached_without_error(self, stand: Stand) -> None:
        """``detach``."""
        await stand.network.detach(new_key())

    async def test_a_repeated_detach_is_no_error(self, stand: Stand) -> None:
        """``detach`` twice; two at once."""
        key = new_key()
        await stand.network.attach(key, WEB)
        await asyncio.gather(stand.network.detach(key), stand.network.detach(key))
        await stand.network.detach(key)
        assert key not in await stand.network.keys()

    async def test_a_detached_key_may_be_attached_otherwise(self, stand: Stand) -> None:
        """``detach`` forgets the request."""
        key = new_key()
        await stand.network.attach(key, WEB)
        await stand.network.detach(key)
        await stand.network.attach(key, OTHER)

    async def test_a_real_guest_uses_it(
        self, stand: Stand, vmm: VmmProvider[object] | None, tmp_path: Path
    ) -> None:
        """``Connection``: in a guest, the interface is up, with its addresses, routes and MTU."""
        if vmm is None:
            pytest.skip("the class gives no fixture 'vmm'")
        if RootKind.DISK not in vmm.capabilities.roots or DiskFormat.RAW not in vmm.capabilities.disk_formats:
            pytest.skip(f"{vmm.name} takes no root on a raw disk")
        host = Host(tmp_path / "vmm", tmp_path / "vmm-cache")
        for folder in (host.state, host.cache, tmp_path / "kit"):
            folder.mkdir(mode=0o700)
        problem = vmm.probe(host, vmm.options())
        if problem is not None:
            pytest.skip(f"{vmm.name}: {problem.reason}")
        kit = guest_kit(tmp_path / "kit")
        connection = await stand.network.attach(new_key(), WEB)
        spec = evolve(kit.spec(disks=(kit.root_disk(),)), attachment=connection.attachment)
        async with vmm.create(host, vmm.options()) as opened:
            machine = await opened.start(spec)
            try:
                async with connected(machine) as guest:
                    await guest.setup(GuestKit.setup(root_of(spec), network=connection.guest))
                    await self._used(guest, connection.guest, spec)
            finally:
                async with asyncio.timeout(PATIENCE):
                    await machine.kill()
                    await opened.remove(spec.key)

    @staticmethod
    async def _used(guest: Guest, network: GuestNetwork | None, spec: MachineSpec) -> None:
        if spec.attachment.kind is AttachmentKind.NONE or network is None:
            script = "for each in /sys/class/net/*; do [ -e $each/device ] && echo $each; done; true"
            assert (await run(guest, script)).text == ""
            return
        shown = await run(
            guest, interface_script(network.mac) + "ip addr show dev $name; ip route; ip -6 route"
        )
        assert shown.code == 0, shown
        assert ",UP" in shown.text
        assert f"mtu {network.mtu} " in shown.text
        for address in network.addresses:
            assert str(address) in shown.text
        for gateway in filter(None, (network.gateway4, network.gateway6)):
            assert f"default via {gateway} " in shown.text
