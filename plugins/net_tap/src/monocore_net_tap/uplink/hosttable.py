"""The one nft table on the host, of the uplink ``veth``. Pure text for ``nft -f``."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network

from attrs import frozen

from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap import allocate

_TEMPLATE = """\
table inet {table} {{
    map published4 {{
        type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
        {published4}
    }}
    map published6 {{
        type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service
        {published6}
    }}
    map everywhere4 {{
        type inet_proto . inet_service : ipv4_addr . inet_service
        {everywhere4}
    }}
    map everywhere6 {{
        type inet_proto . inet_service : ipv6_addr . inet_service
        {everywhere6}
    }}
    set trusted4 {{
        type ipv4_addr
        {trusted4}
    }}
    set trusted6 {{
        type ipv6_addr
        {trusted6}
    }}
    chain publish {{
        fib daddr type != local return
        meta nfproto ipv4 dnat ip to meta l4proto . ip daddr . th dport map @published4
        meta nfproto ipv6 dnat ip6 to meta l4proto . ip6 daddr . th dport map @published6
        meta nfproto ipv4 dnat ip to meta l4proto . th dport map @everywhere4
        meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @everywhere6
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr 127.0.0.0/8 return
        ip6 daddr ::1 return
        meta l4proto {{ tcp, udp }} jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        ip6 daddr ::1 return
        meta l4proto {{ tcp, udp }} jump publish
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname {interface} fib saddr type local masquerade
        oifname != {interface} ip saddr {pool4} masquerade
        oifname != {interface} ip6 saddr {pool6} masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname {interface} ct state established,related accept
        oifname {interface} ct status dnat accept
        oifname {interface} counter drop
        iifname {interface} ip saddr != {pool4} drop
        iifname {interface} ip6 saddr != {pool6} drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname != {interface} accept
        ct state established,related accept
        meta l4proto ipv6-icmp icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        ip saddr {{ {own4}, {pool4_gateway} }} meta l4proto {{ tcp, udp }} th dport 53 accept
        ip saddr @trusted4 accept
        ip6 saddr @trusted6 accept
        counter drop
    }}
}}
"""


@frozen
class HostEnd:
    """What the host has of the uplink: one interface and one table, named after the home they belong to."""

    interface: str
    table: str
    pool4: IPv4Network
    pool6: IPv6Network

    @classmethod
    def of(cls, home: bytes, pool4: IPv4Network, pool6: IPv6Network) -> HostEnd:
        """For a monocore home; interface names have 15 bytes."""
        mark = hashlib.sha256(home).hexdigest()[:8]
        return cls(f"mc-{mark}", f"monocore_{mark}", pool4, pool6)


@frozen
class Forward:
    """A published port, and the port of our end at which it is delivered."""

    publish: Publish
    relay: int


def whole(end: HostEnd, forwards: Iterable[Forward], trusted: Collection[Address]) -> str:
    """The table, in place of the one that is there, in one transaction."""
    kept = list(forwards)
    four, six = allocate.uplink4(end.pool4)[1], allocate.uplink6(end.pool6)[1]

    def elements(version: int, *, everywhere: bool) -> str:
        target = four if version == 4 else six
        found = [
            f"{each.publish.protocol} . "
            + ("" if everywhere else f"{each.publish.address} . ")
            + f"{each.publish.host} : {target} . {each.relay}"
            for each in kept
            if each.publish.address.version == version and each.publish.address.is_unspecified is everywhere
        ]
        return _elements(found)

    text = _TEMPLATE.format(
        table=end.table,
        interface=end.interface,
        pool4=end.pool4,
        pool6=end.pool6,
        own4=four,
        pool4_gateway=allocate.gateway4(end.pool4),
        published4=elements(4, everywhere=False),
        published6=elements(6, everywhere=False),
        everywhere4=elements(4, everywhere=True),
        everywhere6=elements(6, everywhere=True),
        trusted4=_elements(sorted(str(each) for each in trusted if each.version == 4)),
        trusted6=_elements(sorted(str(each) for each in trusted if each.version == 6)),
    )
    return removed(end) + text


def trust(end: HostEnd, added: Collection[Address], gone: Collection[Address]) -> str:
    """Addresses that may reach the host from now on, and no more: what an attachment costs is the same with a thousand others."""
    lines: list[str] = []
    for verb, addresses in (("add", added), ("delete", gone)):
        for version in (4, 6):
            found = sorted(str(each) for each in addresses if each.version == version)
            if found:
                lines.append(f"{verb} element inet {end.table} trusted{version} {{ {', '.join(found)} }}")
    return "\n".join([*lines, ""])


def removed(end: HostEnd) -> str:
    """Nothing of ours, whether or not there was something."""
    return f"add table inet {end.table}\ndelete table inet {end.table}\n"


def sysctls(interface: str) -> tuple[tuple[str, str], ...]:
    """Settings of our own interface, as (path below /proc/sys, value); they go with it."""
    return (
        (f"net/ipv4/conf/{interface}/forwarding", "1"),
        (f"net/ipv4/conf/{interface}/route_localnet", "1"),
        (f"net/ipv4/conf/{interface}/send_redirects", "0"),
        (f"net/ipv6/conf/{interface}/accept_ra", "0"),
        (f"net/ipv6/conf/{interface}/forwarding", "1"),
        (f"net/ipv6/conf/{interface}/force_forwarding", "1"),
    )


def _elements(found: Collection[str]) -> str:
    return f"elements = {{ {', '.join(found)} }}" if found else ""
