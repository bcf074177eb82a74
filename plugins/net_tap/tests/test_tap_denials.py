"""What the packet filter tells of refused packets, and what is kept of it."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monocore_net_tap.denials import Denial, parse
from monocore_net_tap.journal import KEPT, Journal
from monocore_net_tap.members import Member

from monocore_core.model.network import NetworkRequest
from monocore_core.model.policy import parse_policy

MEMBER = Member(
    "key",
    1,
    0,
    NetworkRequest("", "web", parse_policy("public")),
    "02:00:00:00:00:01",
    IPv4Address("10.209.0.2"),
    IPv6Address("fd00::2"),
)


def message(prefix: bytes, packet: bytes) -> bytes:
    """As the kernel writes it: nfnetlink_log(9), an NFULNL_MSG_PACKET with a prefix and a payload."""
    body = struct.pack("!BBH", 2, 0, 4343)
    for kind, value in ((10, prefix + b"\0"), (9, packet)):
        body += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), 4 << 8, 0, 0, 0) + body


def four(protocol: int, rest: bytes, target: str = "10.1.2.3") -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(rest), 0, 0, 64, protocol, 0)
    return head + IPv4Address("10.209.0.2").packed + IPv4Address(target).packed + rest


def six(protocol: int, rest: bytes) -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, len(rest), protocol, 64)
        + MEMBER.address6.packed
        + IPv6Address("2a00::1").packed
        + rest
    )


PORTS = struct.pack("!HH", 5555, 443)


@pytest.mark.parametrize(
    ("packet", "protocol", "port"),
    [
        (four(6, PORTS), "tcp", 443),
        (four(17, PORTS), "udp", 443),
        (four(1, b"\x08\0\0\0"), "icmp", 0),
        (four(47, PORTS), "47", 0),
        (six(6, PORTS), "tcp", 443),
        (six(60, bytes((17, 0)) + bytes(6) + PORTS), "udp", 443),
        (six(58, b"\x80\0\0\0"), "icmp", 0),
        (four(6, b"\x15"), "tcp", 0),
    ],
)
def test_a_refused_packet_is_read(packet: bytes, protocol: str, port: int) -> None:
    (found,) = parse(message(b"p_1234/2", packet))
    assert (found.prefix, found.protocol, found.port) == ("p_1234/2", protocol, port)
    assert found.source in (MEMBER.address4, MEMBER.address6)


def test_several_come_at_once() -> None:
    data = message(b"a", four(6, PORTS)) + message(b"b", four(17, PORTS)) + message(b"c", b"no packet")
    assert [each.prefix for each in parse(data)] == ["a", "b"]


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(data: bytes) -> None:
    list(parse(data))
    list(parse(message(b"p", data)))


def test_refusals_are_told_by_their_rule() -> None:
    journal = Journal()
    told = {
        "p_1/2": "deny private",
        "p_1/default": "allow any",
        "crossing": "sandboxes of different groups never reach one another",
        "gateway": "the gateway answers DNS and pings alone",
        "i_1/default": "the other sandbox lets nobody in there",
    }
    for number, prefix in enumerate(told, start=1):
        journal.note([Denial(prefix, MEMBER.address4, ip_address("10.1.2.3"), "tcp", number)], [MEMBER])
    assert {each.port: each.rule for each in journal.of("key")} == dict(enumerate(told.values(), start=1))
    journal.forget("key")
    assert not journal.of("key")


def test_the_same_refusal_is_counted_and_memory_is_bounded() -> None:
    journal = Journal()
    for port in (1, 1, 1, *range(1000, 1000 + 2 * KEPT)):
        journal.note([Denial("p_1/2", MEMBER.address4, ip_address("10.1.2.3"), "tcp", port)], [MEMBER])
    assert len(journal.of("key")) == KEPT
    journal.note([Denial("p_1/2", MEMBER.address4, ip_address("10.1.2.3"), "tcp", 7)] * 3, [MEMBER])
    assert journal.of("key")[0].count == 3
    journal.note([Denial("p_1/2", IPv4Address("9.9.9.9"), ip_address("10.1.2.3"), "tcp", 7)], [MEMBER])
    assert {each.destination for each in journal.of("key")} == {"10.1.2.3"}


async def test_who_waits_is_told_of_the_next() -> None:
    journal = Journal()
    denial = Denial("p_1/2", MEMBER.address4, ip_address("10.1.2.3"), "tcp", 7)
    journal.note([denial], [MEMBER])
    waiting = asyncio.create_task(journal.after(-1))
    await asyncio.sleep(0)
    assert not waiting.done()
    journal.note([denial], [MEMBER])
    last, ((key, refusal),) = await waiting
    assert (last, key, refusal.count) == (2, "key", 2)
    assert (await journal.after(0))[0] == 2
