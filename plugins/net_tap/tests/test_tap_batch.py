"""Messages written by hand: pyroute2, which reads the kernel's own, reads the same in them."""

from __future__ import annotations

import errno
import os
import struct
from ipaddress import ip_address
from typing import Any, cast

import pytest
from monocore_net_tap import batch
from monocore_net_tap.batch import Batch
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from monocore_core.model.policy import Address

MAC = bytes.fromhex("0212345678ab")


def read(*changes: batch.Change) -> list[Any]:
    data = b"".join(batch.encode(each, number) for number, each in enumerate(changes, start=1))
    found: list[Any] = list(cast("Any", MarshalRtnl()).parse(data))
    assert [each["header"]["sequence_number"] for each in found] == list(range(1, len(changes) + 1))
    assert all(each["header"]["flags"] & 5 == 5 for each in found), "each asks, and is acknowledged"
    return found


def test_a_port_is_isolated_and_floods_nothing() -> None:
    link, own = read(*batch.port(7, 3, 1400))
    assert (link["event"], link["index"], link["flags"], link["change"]) == ("RTM_NEWLINK", 7, 1, 1)
    assert (link.get_attr("IFLA_MTU"), link.get_attr("IFLA_MASTER")) == (1400, 3)
    assert (own["header"]["type"], own["index"], own["family"]) == (19, 7, 7)
    switches = own.get_attr("IFLA_PROTINFO")
    assert {name: switches.get_attr(f"IFLA_BRPORT_{name}") for name in ("ISOLATED", "LEARNING")} == {
        "ISOLATED": 1,
        "LEARNING": 0,
    }
    assert not any(switches.get_attr(f"IFLA_BRPORT_{name}_FLOOD") for name in ("UNICAST", "MCAST", "BCAST"))
    assert switches.get_attr("IFLA_BRPORT_BCAST_FLOOD") == 0


@pytest.mark.parametrize("text", ["10.209.0.9", "fd12::9"])
def test_neighbours_and_routes_lead_to_the_guest(text: str) -> None:
    address: Address = ip_address(text)
    entry, neighbour, route = read(
        batch.forwarding_entry(7, MAC), batch.neighbour(3, address, MAC), batch.host_route(3, address)
    )
    assert (entry["family"], entry["ifindex"], entry["state"], entry["flags"]) == (7, 7, 0x80, 4)
    assert entry.get_attr("NDA_LLADDR") == neighbour.get_attr("NDA_LLADDR") == "02:12:34:56:78:ab"
    assert (neighbour["ifindex"], neighbour["state"], neighbour.get_attr("NDA_DST")) == (3, 0x80, text)
    assert (route["dst_len"], route["table"], route["proto"]) == (address.max_prefixlen, 254, 4)
    assert (route.get_attr("RTA_DST"), route.get_attr("RTA_OIF")) == (text, 3)
    gone = read(batch.removal(batch.neighbour(3, address, MAC)), batch.removal(batch.host_route(3, address)))
    assert [each["event"] for each in gone] == ["RTM_DELNEIGH", "RTM_DELROUTE"]


def test_acknowledgements_are_told_by_number_and_damaged_ones_left_out() -> None:
    def answer(number: int, code: int) -> bytes:
        return struct.pack("=IHHIIi", 20, 2, 0, number, 0, -code)

    data = answer(1, 0) + answer(2, errno.EEXIST)
    assert batch.acknowledged(data) == [(1, 0), (2, errno.EEXIST)]
    assert batch.acknowledged(data[:30]) == [(1, 0)]
    assert batch.acknowledged(struct.pack("=IHHII", 3, 2, 0, 1, 0)) == []
    assert batch.acknowledged(b"") == []


def test_the_kernels_refusal_is_raised_unless_it_is_no_error() -> None:
    """Of an interface that is not there; an ordinary user is refused for another reason."""
    opened = Batch()
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ENODEV if os.geteuid() == 0 else errno.EPERM)):
            opened.run([batch.interface_removed(0x7FFFFFF0)])
        opened.run([batch.interface_removed(0x7FFFFFF0)] * 3, ignoring=(errno.ENODEV, errno.EPERM))
    finally:
        opened.close()
