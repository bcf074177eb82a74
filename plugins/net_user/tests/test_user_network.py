"""What the network hands out, what it refuses, and that its ports are free."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from monocore_net_user import PROVIDER
from monocore_net_user.network import mac_of
from monocore_net_user.options import UserOptions

from monocore_core.errors import Conflict, NotFound, Unsupported
from monocore_core.hostports import holder_of
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host
from monocore_core.model.network import NetworkRequest, Publish, UserMode
from monocore_core.model.policy import PROFILES, Protocol, parse_policy

LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    async with PROVIDER.create(Host(tmp_path, tmp_path), UserOptions()) as opened:
        yield opened


async def test_everything_or_nothing(network: Network) -> None:
    everything = await network.attach("one", NetworkRequest("", "web"))
    nothing = await network.attach("two", NetworkRequest("", "web", PROFILES["local"]))
    assert isinstance(everything.attachment, UserMode)
    assert isinstance(nothing.attachment, UserMode)
    assert (everything.attachment.restrict, nothing.attachment.restrict) == (False, True)
    assert everything.guest is not None
    assert everything.guest.mac == everything.attachment.mac == mac_of("one") != mac_of("two")
    assert everything.guest.nameservers
    assert nothing.guest is not None
    assert not nothing.guest.nameservers


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (NetworkRequest("", "web", PROFILES["public"]), "the rule 'deny host'"),
        (NetworkRequest("", "web", parse_policy("all", ["deny any:25"])), "the rule 'deny any:25'"),
        (
            NetworkRequest("", "web", parse_policy("local", ["allow example.com"])),
            "the rule 'allow example.com'",
        ),
        (NetworkRequest("shop", "web"), "the group 'shop'"),
    ],
)
async def test_what_it_cannot_enforce_is_refused_by_name(
    network: Network, request_: NetworkRequest, named: str
) -> None:
    with pytest.raises(Unsupported, match="cannot enforce") as refused:
        await network.attach("one", request_)
    assert named in refused.value.brief
    assert await network.keys() == frozenset()


async def test_a_port_is_chosen_and_kept(network: Network) -> None:
    request = NetworkRequest(
        "", "web", publish=(Publish(80, address=LOOPBACK), Publish(53, protocol=Protocol.UDP))
    )
    connection = await network.attach("one", request)
    assert await network.attach("one", request) == connection
    first, second = connection.published
    assert first.host > 0 < second.host
    assert isinstance(connection.attachment, UserMode)
    assert connection.attachment.forwards == (
        ("tcp", "127.0.0.1", first.host, 80),
        ("udp", "0.0.0.0", second.host, 53),
    )
    with pytest.raises(Conflict, match="another request"):
        await network.attach("one", NetworkRequest("", "web"))
    await network.detach("one")
    await network.detach("one")
    assert await network.keys() == frozenset()


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_a_port_in_use_is_refused_with_its_holder(network: Network, protocol: Protocol) -> None:
    kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if protocol is Protocol.TCP:
            taken.listen()
        port = taken.getsockname()[1]
        request = NetworkRequest("", "web", publish=(Publish(80, port, LOOPBACK, protocol),))
        with pytest.raises(
            Conflict, match=rf"port {port}/{protocol} of 127.0.0.1 is in use by process {os.getpid()} "
        ):
            await network.attach("one", request)
        assert await network.keys() == frozenset()
    assert holder_of(port, protocol) == "another process"
    await network.attach("one", request)


async def test_addresses_that_it_cannot_publish_on(network: Network) -> None:
    for address, error in (("::1", Unsupported), ("192.0.2.1", NotFound)):
        request = NetworkRequest("", "web", publish=(Publish(80, 0, ip_address(address)),))
        with pytest.raises(error, match=address):
            await network.attach("one", request)


async def test_a_port_that_another_sandbox_was_given_is_refused(network: Network) -> None:
    """Nobody listens there yet: a VMM opens the port when it starts."""
    everything = PROFILES["all"]
    first = await network.attach(
        "one", NetworkRequest("", "web", everything, (Publish(80, address=LOOPBACK),))
    )
    (port,) = first.published
    wanted = NetworkRequest("", "web", everything, (Publish(81, port.host, ip_address("0.0.0.0")),))
    with pytest.raises(Conflict, match="is published by sandbox one"):
        await network.attach("two", wanted)
    await network.detach("one")
    assert (await network.attach("two", wanted)).published == wanted.publish
