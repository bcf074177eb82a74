"""Frames that a guest should not be able to send, and two that it should. Each carries the marker and its name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import attrs

from tests.integration.network.outside import MARKER, PORT

_BROADCAST = "ff:ff:ff:ff:ff:ff"


@attrs.frozen
class Place:
    """One sandbox's addresses, or the gateway's."""

    mac: str
    four: IPv4Address
    six: IPv6Address


def forged(
    own: Place, member: Place, stranger: Place, gateway: Place, internet: IPv4Address
) -> Iterator[tuple[str, bytes]]:
    """(name, frame) of what must never arrive anywhere."""

    def routed(
        name: str, source: IPv4Address, target: IPv4Address, mac: str = gateway.mac, sender: str = own.mac
    ) -> tuple[str, bytes]:
        return name, ethernet(sender, mac, 0x0800, ipv4(source, target, 17, udp(name)))

    yield routed("the member's address", member.four, internet)
    yield routed("an outsider's address", IPv4Address("1.2.3.4"), member.four)
    yield routed("the gateway's address", gateway.four, member.four)
    yield routed("loopback as source", IPv4Address("127.0.0.1"), gateway.four)
    yield routed("loopback as target", own.four, IPv4Address("127.0.0.1"))
    yield routed("the member's MAC", own.four, internet, sender=member.mac)
    yield routed("an invented MAC", own.four, internet, sender="02:00:00:00:00:99")
    yield routed("straight to the member", own.four, member.four, mac=member.mac)
    yield routed("straight to the stranger", own.four, stranger.four, mac=stranger.mac)
    yield routed("by the gateway to the stranger", own.four, stranger.four)
    yield routed("broadcast", own.four, IPv4Address("255.255.255.255"), mac=_BROADCAST)
    yield routed("broadcast frame to the stranger", own.four, stranger.four, mac=_BROADCAST)
    yield routed("broadcast of the LAN", own.four, IPv4Address("192.168.77.255"))
    yield routed("multicast", own.four, IPv4Address("224.0.0.251"), mac="01:00:5e:00:00:fb")
    for name, target in (("the member", member), ("the stranger", stranger)):
        claim = arp(2, own.mac, gateway.four, target.mac, target.four)
        yield _named(f"ARP: the gateway is here, says it to {name}", own.mac, target.mac, 0x0806, claim)
    yield _named(
        "ARP: the member is here",
        own.mac,
        _BROADCAST,
        0x0806,
        arp(2, own.mac, member.four, _BROADCAST, member.four),
    )
    yield _named(
        "ARP: who has the member",
        own.mac,
        _BROADCAST,
        0x0806,
        arp(1, own.mac, own.four, "00:00:00:00:00:00", member.four),
    )
    yield _named("an unknown protocol", own.mac, _BROADCAST, 0x88B5, b"")
    tagged = struct.pack("!HH", 1, 0x0800) + ipv4(own.four, stranger.four, 17, udp("a VLAN tag"))
    yield "a VLAN tag", ethernet(own.mac, stranger.mac, 0x8100, tagged)
    local = link_local(own.mac)
    advertisement = bytes((134, 0, 0, 0, 64, 0, 7, 8)) + bytes(8) + b"a router advertisement" + MARKER
    yield (
        "a router advertisement",
        ethernet(
            own.mac,
            "33:33:00:00:00:01",
            0x86DD,
            ipv6(local, IPv6Address("ff02::1"), 58, advertisement, hops=255),
        ),
    )
    neighbour = bytes((136, 0, 0, 0, 0x60, 0, 0, 0)) + gateway.six.packed + b"\x02\x01" + _bytes(own.mac)
    yield _named(
        "a neighbour advertisement",
        own.mac,
        member.mac,
        0x86DD,
        ipv6(gateway.six, member.six, 58, neighbour, hops=255),
    )
    name = "the member's IPv6 address"
    yield name, ethernet(own.mac, gateway.mac, 0x86DD, ipv6(member.six, stranger.six, 17, udp(name)))
    name = "IPv6 to the stranger"
    yield name, ethernet(own.mac, gateway.mac, 0x86DD, ipv6(own.six, stranger.six, 17, udp(name)))
    name = "IPv6 link-local to the member"
    yield name, ethernet(own.mac, member.mac, 0x86DD, ipv6(local, link_local(member.mac), 17, udp(name)))
    yield (
        "a tunnel",
        ethernet(
            own.mac, gateway.mac, 0x0800, ipv4(own.four, stranger.four, 47, bytes(4) + MARKER + b"a tunnel")
        ),
    )
    whole = udp("fragments" + "x" * 40)
    for offset, part, more in ((0, whole[:24], 1), (24, whole[24:], 0)):
        body = ipv4(
            own.four, stranger.four, 17, part + MARKER + b"fragments", fragment=more << 13 | offset // 8
        )
        yield "fragments", ethernet(own.mac, gateway.mac, 0x0800, body)
    options = bytes((1, 131, 7, 4)) + stranger.four.packed
    yield (
        "a source route",
        ethernet(
            own.mac,
            gateway.mac,
            0x0800,
            ipv4(own.four, gateway.four, 17, udp("a source route"), options=options),
        ),
    )


def honest(own: Place, member: Place, gateway: Place, internet: IPv4Address) -> Iterator[tuple[str, bytes]]:
    """Frames that must arrive: without them, the others prove nothing."""
    for name, target in (("honest to the member", member.four), ("honest to the internet", internet)):
        yield name, ethernet(own.mac, gateway.mac, 0x0800, ipv4(own.four, target, 17, udp(name)))


def named(frame: bytes) -> str:
    """The name that a frame carries after the marker."""
    return frame[frame.rindex(MARKER) + len(MARKER) :].rstrip(b"\0").decode(errors="replace")


def ethernet(source: str, target: str, kind: int, body: bytes) -> bytes:
    return _bytes(target) + _bytes(source) + struct.pack("!H", kind) + body


def ipv4(
    source: IPv4Address,
    target: IPv4Address,
    protocol: int,
    body: bytes,
    *,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 77, fragment, 64, protocol, 0)
    head += source.packed + target.packed + options
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + body


def ipv6(source: IPv6Address, target: IPv6Address, protocol: int, body: bytes, *, hops: int = 64) -> bytes:
    if protocol in (17, 58):
        pseudo = source.packed + target.packed + struct.pack("!II", len(body), protocol)
        place = 6 if protocol == 17 else 2
        body = body[:place] + struct.pack("!H", _checksum(pseudo + body) or 0xFFFF) + body[place + 2 :]
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, hops) + source.packed + target.packed + body


def udp(name: str) -> bytes:
    data = MARKER + name.encode()
    return struct.pack("!HHHH", 5555, PORT, 8 + len(data), 0) + data


def arp(operation: int, sender: str, address: IPv4Address, target: str, wanted: IPv4Address) -> bytes:
    return (
        struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + _bytes(sender)
        + address.packed
        + _bytes(target)
        + wanted.packed
    )


def link_local(mac: str) -> IPv6Address:
    first, *rest = _bytes(mac)
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:])))


def _named(name: str, source: str, target: str, kind: int, body: bytes) -> tuple[str, bytes]:
    return name, ethernet(source, target, kind, body + MARKER + name.encode())


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
