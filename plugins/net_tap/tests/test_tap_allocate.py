"""Numbers, addresses and pools."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from monocore_net_tap import allocate
from monocore_net_tap.options import TapOptions

from monocore_core.errors import Conflict, InvalidInput, LimitExceeded

POOL = IPv4Network("10.209.0.0/24")
SIX = allocate.pool6(b"home")


def test_a_pool_overlaps_nothing_of_the_host() -> None:
    first = allocate.CANDIDATES[0]
    assert allocate.choose_pool([IPv4Network("0.0.0.0/0")]) == first
    assert allocate.choose_pool([IPv4Network(f"{first[300]}/32")]) == allocate.CANDIDATES[1]
    with pytest.raises(Conflict, match="in use"):
        allocate.choose_pool([IPv4Network("10.0.0.0/8")])


def test_every_home_has_an_ipv6_network_of_its_own() -> None:
    assert allocate.pool6(b"home") == SIX
    assert allocate.pool6(b"other") != SIX
    assert SIX.prefixlen == 64
    assert SIX.subnet_of(IPv6Network("fd00::/8"))


def test_addresses_follow_the_number_and_avoid_what_is_taken() -> None:
    one = allocate.address4(POOL, 1, [])
    assert one == IPv4Address("10.209.0.2")
    assert allocate.address4(POOL, 1, [one]) == IPv4Address("10.209.0.3")
    assert allocate.address6(SIX, 1, []) == SIX[0x101]
    assert allocate.address6(SIX, 1, [SIX[0x101]]) == SIX[0x102]


def test_an_empty_pool_is_a_clear_error() -> None:
    taken: list[IPv4Address] = []
    for number in range(1, 247):
        taken.append(allocate.address4(POOL, number, taken))
    with pytest.raises(LimitExceeded, match=r"no address is left of 10\.209\.0\.0/24"):
        allocate.address4(POOL, 247, taken)
    assert len(set(taken)) == 246
    kept = {POOL[0], POOL[1], POOL[-1], *allocate.uplink4(POOL)}
    assert not kept & set(taken)


def test_the_lowest_free_number_is_given() -> None:
    assert allocate.number([]) == 1
    assert allocate.number({1, 2, 4}) == 3


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("10.210.0.5", InvalidInput),
        ("10.209.0.1", InvalidInput),
        ("10.209.0.255", InvalidInput),
        ("10.209.0.254", InvalidInput),
        ("fd00::1", InvalidInput),
        ("10.209.0.9", Conflict),
    ],
)
def test_addresses_that_cannot_be_had_are_refused(address: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=address):
        allocate.wanted([ip_address(address)], POOL, SIX, {IPv4Address("10.209.0.9")})


def test_addresses_that_can_be_had_are_given() -> None:
    assert allocate.wanted([IPv4Address("10.209.0.9"), SIX[77]], POOL, SIX, ()) == (
        IPv4Address("10.209.0.9"),
        SIX[77],
    )
    assert allocate.wanted([], POOL, SIX, ()) == (None, None)
    with pytest.raises(InvalidInput, match="second one"):
        allocate.wanted([IPv4Address("10.209.0.9"), IPv4Address("10.209.0.10")], POOL, SIX, ())


def test_a_mac_belongs_to_one_key_of_one_home() -> None:
    mac = allocate.mac_of(b"home", "key")
    assert mac == allocate.mac_of(b"home", "key")
    assert mac not in (allocate.mac_of(b"home", "other"), allocate.mac_of(b"other", "key"))
    assert int(mac[:2], 16) & 3 == 2, "locally administered, one receiver"


def test_relay_ports_are_limited() -> None:
    assert allocate.relay(set()) == 10000
    with pytest.raises(LimitExceeded):
        allocate.relay(set(allocate.RELAYS))


@pytest.mark.parametrize(
    "pool", ["10.0.0.0", "10.0.0.0/33", "10.0.0.1/16", "10.0.0.0/25", "10.0.0.0/8", "fd00::/64"]
)
def test_pools_that_are_none_are_refused(pool: str) -> None:
    with pytest.raises(InvalidInput):
        TapOptions(pool=pool)


def test_ipv6_addresses_are_compared_as_such() -> None:
    assert isinstance(SIX[1], IPv6Address)
