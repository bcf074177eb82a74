"""Clauses of the VMM contract on the network devices that it attaches."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from ipaddress import IPv4Address

import pytest
from attrs import evolve

from monocore_core.guest.client import Guest
from monocore_core.model.network import AttachmentKind, GuestNetwork, Tap, UserMode
from monocore_core.testing.contracts.vmm_base import PATIENCE, Bench, VmmFixtures, root_of
from monocore_core.testing.guests import GuestKit, connected, interface_script, private_network, run
from monocore_core.testing.taps import HostTap, host_tap

_MAC = "02:4d:43:00:00:01"


class AttachmentClauses(VmmFixtures):
    """What a network hands out must work in the guest. Needs root for taps."""

    @pytest.fixture
    def user_network(self) -> GuestNetwork:
        """The guest's configuration in the VMM's own user-mode network; unless overridden, an address that nobody has."""
        return private_network(_MAC)

    @pytest.fixture
    def forwarding(self) -> bool:
        """Whether ``user_network`` is right for forwarded ports, so that they can be tried."""
        return False

    async def test_a_tap_by_name_carries_frames_both_ways(self, bench: Bench) -> None:
        """``Tap.name``."""
        await self._tapped(bench, opened=False)

    async def test_a_tap_by_descriptor_carries_frames_both_ways(self, bench: Bench) -> None:
        """``Tap.fd``: the VMM inherits it."""
        bench.need(bench.capabilities.tap_descriptors, "taps by descriptor")
        await self._tapped(bench, opened=True)

    async def _tapped(self, bench: Bench, *, opened: bool) -> None:
        bench.need(AttachmentKind.TAP in bench.capabilities.attachments, "tap devices")
        if os.geteuid() != 0:
            pytest.skip("needs root, to make a tap device")
        network = private_network(_MAC)
        async with host_tap(opened=opened) as tap:
            spec = evolve(bench.root(), attachment=Tap(tap.name, _MAC, fd=tap.fd))
            async with bench.started(spec) as machine, connected(machine) as guest:
                await guest.setup(GuestKit.setup(root_of(spec), network=network))
                await self._answered(tap, guest, IPv4Address(network.gateway4))

    @staticmethod
    async def _answered(tap: HostTap, guest: Guest, gateway: IPv4Address) -> None:
        answering = asyncio.create_task(tap.answer(gateway))
        try:
            await run(guest, f"ping -c 1 -W 1 {gateway}; true")
            async with asyncio.timeout(PATIENCE):
                assert (await answering).hex(":") == _MAC, "the guest's frames have another address"
        finally:
            answering.cancel()
        script = f"for i in 1 2 3; do grep '^{gateway} .* 0x2 ' /proc/net/arp && break; ping -c 1 -W 1 {gateway}; done"
        found = await run(guest, script)
        assert tap.mac.hex(":") in found.text, "the guest has not received the host's answer"

    async def test_a_user_mode_interface_is_there(self, bench: Bench, user_network: GuestNetwork) -> None:
        """``UserMode.mac``: the guest has the interface, and it can be configured."""
        bench.need(AttachmentKind.USER in bench.capabilities.attachments, "a user-mode network")
        spec = evolve(bench.root(), attachment=UserMode(user_network.mac))
        async with bench.started(spec) as machine, connected(machine) as guest:
            await guest.setup(GuestKit.setup(root_of(spec), network=user_network))
            said = await run(guest, interface_script(user_network.mac) + "ip addr show dev $name")
            assert str(user_network.addresses[0]) in said.text, said

    async def test_a_forwarded_port_reaches_the_guest(
        self,
        bench: Bench,
        user_network: GuestNetwork,
        forwarding: bool,
    ) -> None:
        """``UserMode.forwards``: what connects to the host's port reaches the guest's."""
        bench.need(AttachmentKind.USER in bench.capabilities.attachments, "a user-mode network")
        if not forwarding:
            pytest.skip("the class gives no 'user_network' and 'forwarding' by which a port can be reached")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        attachment = UserMode(user_network.mac, forwards=(("tcp", "127.0.0.1", port, 8080),))
        spec = evolve(bench.root(), attachment=attachment)
        async with bench.started(spec) as machine, connected(machine) as guest:
            await guest.setup(GuestKit.setup(root_of(spec), network=user_network))
            serving = asyncio.create_task(run(guest, "echo from the guest | nc -l -p 8080"))
            try:
                async with asyncio.timeout(PATIENCE):
                    assert await _said(port) == b"from the guest\n"
            finally:
                serving.cancel()
                await asyncio.wait([serving])


async def _said(port: int) -> bytes:
    """What a server says first, once it listens; when that will be nobody tells."""
    while True:
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                if said := await reader.readline():
                    return said
            finally:
                writer.close()
        await asyncio.sleep(0.05)
