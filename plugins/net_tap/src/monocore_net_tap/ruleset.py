"""The packet filter of the namespace, as text for nft. Pure.

Two tables, both ours alone. ``bridge monocore`` lets in only frames that a tap may send: its own MAC and addresses, IPv4, IPv6 and ARP.
``inet monocore`` judges everything that is routed: a packet's source address leads, by one look-up, to its policy's chain. What a member
adds are elements of sets and maps, and its policy's chains when it is the first that has it: an attachment costs the same with a thousand
members as with one. :func:`whole` is the skeleton and every member's :func:`joined`, in one transaction.

Removals name each element twice, to add it and to delete it: so that what is gone already is no error (nft 1.0.6 has no ``destroy``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from monocore_core.errors import MachineError
from monocore_core.model.policy import PRIVATE, Address, Policy
from monocore_net_tap.members import Member, Scene
from monocore_net_tap.nft import Nft
from monocore_net_tap.policies import LOG_GROUP, LOG_RATE, Chains

#: What a sandbox may send beyond its limit at once: some of the largest packets.
_LEAST_BURST = 128 * 1024
#: Of the limit, since the kernel lets a second's worth and the burst through at the beginning (nft_limit_init of net/netfilter/nft_limit.c): ten
#: seconds are within a tenth of the limit, and so is every longer time.
_PART = 0.95
_INET, _BRIDGE = "inet monocore", "bridge monocore"
_COUNTER = re.compile(r"counter packets ([0-9]+)")

_SKELETON = """\
add table bridge monocore
delete table bridge monocore
add table inet monocore
delete table inet monocore
table bridge monocore {{
    set macs {{
        typeof meta iifname . ether saddr
    }}
    set arps {{
        typeof meta iifname . arp saddr ether . arp saddr ip
    }}
    set sources4 {{
        typeof meta iifname . ip saddr
    }}
    set sources6 {{
        typeof meta iifname . ip6 saddr
    }}
    set spoofed {{
        typeof meta iifname
        size 65535
        flags dynamic
        counter
    }}
    map upload {{
        type ifname : limit
    }}
    map sent {{
        type ifname : limit
    }}
    map received {{
        type ifname : limit
    }}
    chain spoof {{
        add @spoofed {{ meta iifname }}
        drop
    }}
    chain prerouting {{
        type filter hook prerouting priority -300; policy drop;
        meta iifname . ether saddr != @macs goto spoof
        limit name meta iifname map @sent drop
        limit name meta iifname map @upload drop
        ether type arp meta iifname . arp saddr ether . arp saddr ip @arps accept
        ether type ip meta iifname . ip saddr @sources4 accept
        ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} goto spoof
        ether type ip6 meta iifname . ip6 saddr @sources6 accept
        ether type ip6 ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, mld-listener-report, mld2-listener-report }} drop
        goto spoof
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
    }}
    chain postrouting {{
        type filter hook postrouting priority 300; policy accept;
        limit name meta oifname map @received drop
    }}
}}
table inet monocore {{
    set host4 {{
        type ipv4_addr
    }}
    set host6 {{
        type ipv6_addr
    }}
    set private4 {{
        type ipv4_addr
        flags interval
        auto-merge
        elements = {{ {private4} }}
    }}
    set private6 {{
        type ipv6_addr
        flags interval
        auto-merge
        elements = {{ {private6} }}
    }}
    set same {{
        typeof meta iifname . meta oifname
    }}
    set denied4 {{
        typeof ip saddr
        size 65535
        flags dynamic
        counter
    }}
    set denied6 {{
        typeof ip6 saddr
        size 65535
        flags dynamic
        counter
    }}
    map egress4 {{
        typeof ip saddr : verdict
    }}
    map egress6 {{
        typeof ip6 saddr : verdict
    }}
    map ingress4 {{
        typeof ip daddr : verdict
    }}
    map ingress6 {{
        typeof ip6 daddr : verdict
    }}
    map relays4 {{
        type inet_proto . inet_service : ipv4_addr . inet_service
    }}
    map relays6 {{
        type inet_proto . inet_service : ipv6_addr . inet_service
    }}
    chain refused {{
        meta nfproto ipv4 add @denied4 {{ ip saddr }}
        meta nfproto ipv6 add @denied6 {{ ip6 saddr }}
        reject with icmpx admin-prohibited
    }}
    chain crossing {{
        limit rate {rate} log group {group} prefix "crossing"
        goto refused
    }}
    chain gateway {{
        limit rate {rate} log group {group} prefix "gateway"
        goto refused
    }}
    chain allowed {{
        ip daddr vmap @ingress4
        ip6 daddr vmap @ingress6
        accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        {from_uplink}
        ip daddr {{ 224.0.0.0/4, 255.255.255.255 }} drop
        ip6 daddr ff00::/8 drop
        oifname "g*" meta iifname . meta oifname != @same goto crossing
        ip saddr vmap @egress4
        ip6 saddr vmap @egress6
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        iifname != "g*" drop
        ip daddr {gateway4} meta l4proto {{ tcp, udp }} th dport 53 accept
        ip6 daddr {gateway6} meta l4proto {{ tcp, udp }} th dport 53 accept
        ip daddr {gateway4} icmp type echo-request accept
        ip6 daddr {gateway6} icmpv6 type echo-request accept
        meta pkttype {{ broadcast, multicast }} drop
        goto gateway
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        icmp type redirect drop
        icmpv6 type nd-redirect drop
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {relayed}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {masquerade}
    }}
}}
"""


def whole(scene: Scene) -> str:
    """Both tables with everything in them, in place of those that are there."""
    up = f'"{scene.uplink}"'
    relayed = [
        f"iifname {up} {_ip(own)} daddr {own} dnat {_ip(own)} to meta l4proto . th dport map @relays{own.version}"
        for own in scene.uplink_addresses
    ]
    text = _SKELETON.format(
        private4=", ".join(str(network) for network in PRIVATE if network.version == 4),
        private6=", ".join(str(network) for network in PRIVATE if network.version == 6),
        rate=LOG_RATE,
        group=LOG_GROUP,
        gateway4=scene.gateways[0],
        gateway6=scene.gateways[1],
        from_uplink=f"iifname {up} ct status dnat accept\n        iifname {up} drop" if scene.uplink else "",
        relayed="\n        ".join(relayed) if scene.uplink else "",
        masquerade=f"oifname {up} masquerade" if scene.uplink and scene.masquerade else "",
    )
    known = _Known()
    lines = [line for member in scene.members for line in known.join(member)]
    return text + hosts_changed(scene) + "\n".join([*lines, ""])


def joined(scene: Scene, member: Member) -> str:
    """What a member adds to the tables of a scene without it."""
    return "\n".join([*_Known.of(scene.members).join(member), ""])


def left(scene: Scene, member: Member) -> str:
    """What must go of a member; the scene is the one without it."""
    known = _Known.of(scene.members)
    lines: list[str] = []
    for target, element in _elements(member):
        lines += [f"add element {target} {{ {element} }}", f"delete element {target} {{ {element} }}"]
    for name, declaration in _limits(member):
        lines += [f"add limit {_BRIDGE} {name} {declaration}", f"delete limit {_BRIDGE} {name}"]
    if member.group and member.group not in known.groups:
        element = f'{_INET} same {{ "{member.bridge}" . "{member.bridge}" }}'
        lines += [f"add element {element}", f"delete element {element}"]
    for chains in _chains(member):
        if chains.name not in known.chains:
            lines += chains.removed()
    for version, address in ((4, member.address4), (6, member.address6)):  # another may get the address
        lines += _twice(f"{_INET} denied{version} {{ {address} }}")
    lines += _twice(f'{_BRIDGE} spoofed {{ "{member.tap}" }}')
    return "\n".join([*_limits_first(lines, member), ""])


def hosts_changed(scene: Scene) -> str:
    """The host's addresses, in place of those that are there."""
    lines = [f"flush set {_INET} host4", f"flush set {_INET} host6"]
    for version in (4, 6):
        found = sorted(str(address) for address in scene.host_addresses if address.version == version)
        if found:
            lines.append(f"add element {_INET} host{version} {{ {', '.join(found)} }}")
    return "\n".join([*lines, ""])


def learned(member: Member, rule: int, address: Address, seconds: int) -> str:
    """Open an address to a member for a time, as what the rule with this number names. Again: for the new time."""
    own: Address = member.address4 if isinstance(address, IPv4Address) else member.address6
    target = f"{_INET} {Chains(member.request.policy).learned(rule, address.version)}"
    pair = f"{own} . {address}"
    return "\n".join([
        *_twice(f"{target} {{ {pair} }}"), f"add element {target} {{ {pair} timeout {seconds}s }}", ""
    ])  # fmt: skip


def forgotten(member: Member, rule: int, address: Address) -> str:
    """Close what :func:`learned` opened, whether or not it is still open."""
    own: Address = member.address4 if isinstance(address, IPv4Address) else member.address6
    target = f"{_INET} {Chains(member.request.policy).learned(rule, address.version)}"
    return "\n".join([*_twice(f"{target} {{ {own} . {address} }}"), ""])


def denied(nft: Nft, member: Member) -> int:
    """Packets of a member that were not let through."""
    return (
        _count(nft, f"{_INET} denied4 {{ {member.address4} }}")
        + _count(nft, f"{_INET} denied6 {{ {member.address6} }}")
        + _count(nft, f'{_BRIDGE} spoofed {{ "{member.tap}" }}')
    )


class _Known:
    """The policies and groups that members have already."""

    def __init__(self) -> None:
        self.chains: set[str] = set()
        self.groups: set[int] = set()

    @classmethod
    def of(cls, members: Iterable[Member]) -> _Known:
        """Looks at each policy once: many members have the same."""
        made = cls()
        egress, ingress = set[Policy](), set[Policy]()
        for member in members:
            made.groups.add(member.group)
            egress.add(member.request.policy)
            if member.request.ingress is not None:
                ingress.add(member.request.ingress)
        made.chains = {
            *(Chains(policy).name for policy in egress),
            *(Chains(policy, ingress=True).name for policy in ingress),
        }
        return made

    def join(self, member: Member) -> Iterator[str]:
        for chains in _chains(member):
            if chains.name not in self.chains:
                self.chains.add(chains.name)
                yield from chains.added()
        if member.group and member.group not in self.groups:
            self.groups.add(member.group)
            yield f'add element {_INET} same {{ "{member.bridge}" . "{member.bridge}" }}'
        for name, declaration in _limits(member):
            yield f"add limit {_BRIDGE} {name} {declaration}"
        for target, element in _elements(member):
            yield f"add element {target} {{ {element} }}"


def _chains(member: Member) -> list[Chains]:
    found = [Chains(member.request.policy)]
    if member.request.ingress is not None:
        found.append(Chains(member.request.ingress, ingress=True))
    return found


def _elements(member: Member) -> Iterator[tuple[str, str]]:
    """(set or map, element) pairs."""
    tap = f'"{member.tap}"'
    yield f"{_BRIDGE} macs", f"{tap} . {member.mac}"
    yield f"{_BRIDGE} arps", f"{tap} . {member.mac} . {member.address4}"
    yield f"{_BRIDGE} sources4", f"{tap} . {member.address4}"
    yield f"{_BRIDGE} sources6", f"{tap} . {member.address6}"
    yield f"{_BRIDGE} sources6", f"{tap} . {member.link_local}"
    for name, _ in _limits(member):
        yield f"{_BRIDGE} {name.partition('_')[0]}", f'{tap} : "{name}"'
    for version, address in ((4, member.address4), (6, member.address6)):
        yield f"{_INET} egress{version}", f"{address} : goto {Chains(member.request.policy).name}"
        if member.request.ingress is not None:
            chain = Chains(member.request.ingress, ingress=True).name
            yield f"{_INET} ingress{version}", f"{address} : goto {chain}"
        for relay in member.relays:
            publish = relay.publish
            yield (
                f"{_INET} relays{version}",
                f"{publish.protocol} . {relay.port} : {address} . {publish.guest}",
            )


def _limits(member: Member) -> Iterator[tuple[str, str]]:
    """(name, declaration) of a member's limits; what it may receive in bytes is shaped at its tap."""
    limits = member.request.limits
    if limits.upload:
        rate, burst = max(1, int(limits.upload * _PART)), max(_LEAST_BURST, limits.upload // 50)
        yield f"upload_{member.tap}", f"{{ rate over {rate} bytes/second burst {burst} bytes; }}"
    if limits.packets:
        burst = max(50, limits.packets // 5)
        for way in ("sent", "received"):
            yield f"{way}_{member.tap}", f"{{ rate over {limits.packets}/second burst {burst} packets; }}"


def _twice(element: str) -> list[str]:
    return [f"add element {element}", f"delete element {element}"]


def _limits_first(lines: list[str], member: Member) -> list[str]:
    """Elements that name a limit can be added only where the limit is."""
    needed = [f"add limit {_BRIDGE} {name} {declaration}" for name, declaration in _limits(member)]
    chains = [line for each in _chains(member) for line in (f"add chain {_INET} {each.name}",)]
    return [*needed, *chains, *lines]


def _count(nft: Nft, element: str) -> int:
    try:
        found = _COUNTER.search(nft.text(f"get element {element}"))
    except MachineError:  # nothing of it has been counted yet
        return 0
    return int(found[1]) if found else 0


def _ip(address: Address) -> str:
    return "ip" if address.version == 4 else "ip6"
