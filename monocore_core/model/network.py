"""What a sandbox asks of a network, and what it gets: an attachment for the VMM, a configuration for the guest."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from attrs import field, frozen, validators

from monocore_core.model.policy import PROFILES, Action, Domain, Place, Policy, Protocol

#: DNS servers and search domains of a guest, as resolv.conf(5) has them.
MAX_SERVERS, MAX_SEARCH = 3, 6


class AttachmentKind(StrEnum):
    """How a VM is connected."""

    NONE = "none"
    TAP = "tap"
    USER = "user"


@frozen
class Publish:
    """A port of the guest that is reachable at the host.

    Attributes:
        guest: port in the guest.
        host: port on the host; 0 lets the network choose a free one.
        address: of the host on which it is reachable; ``0.0.0.0`` for every IPv4 address.
        protocol: TCP or UDP.
    """

    guest: int
    host: int = 0
    address: IPv4Address | IPv6Address = field(default=IPv4Address("0.0.0.0"))  # noqa: S104 - what people expect of -p
    protocol: Protocol = Protocol.TCP

    def __str__(self) -> str:
        address = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{address}:{self.host}->{self.guest}/{self.protocol}"


class NetworkFeature(StrEnum):
    """What not every network can do."""

    PUBLISH = "publish"
    """Published ports."""
    ISOLATE = "isolate"
    """A policy that allows nothing."""
    RULES = "rules"
    """A policy's rules over addresses, ports and protocols."""
    DOMAINS = "domains"
    """A policy's rules over names."""
    GROUPS = "groups"
    """Sandboxes that reach one another."""
    INGRESS = "ingress"
    """A policy for what members of the group may reach in the sandbox."""
    LIMITS = "limits"
    """Limits of bandwidth and of packets."""
    ADDRESS = "address"
    """An address of one's choice."""


@frozen
class Limits:
    """What a sandbox may use of the network; 0 is no limit.

    Attributes:
        download: bytes per second towards the sandbox.
        upload: bytes per second from it.
        packets: per second, in each direction.
    """

    download: int = field(default=0, validator=validators.ge(0))
    upload: int = field(default=0, validator=validators.ge(0))
    packets: int = field(default=0, validator=validators.ge(0))

    def __bool__(self) -> bool:
        return bool(self.download or self.upload or self.packets)


@frozen
class Dns:
    """How a sandbox resolves names.

    Attributes:
        servers: to ask instead of the host's; at most three, as resolv.conf(5) has them.
        search: domains in which short names are looked up.
    """

    servers: tuple[IPv4Address | IPv6Address, ...] = field(
        default=(), validator=validators.max_len(MAX_SERVERS)
    )
    search: tuple[str, ...] = field(default=(), validator=validators.max_len(MAX_SEARCH))


@frozen
class NetworkRequest:
    """What one sandbox wants.

    Attributes:
        group: sandboxes of one group can be allowed to reach each other; "" for a sandbox that is alone.
        hostname: the guest's name, unique in the group.
        policy: what the sandbox may reach.
        publish: ports that are reachable at the host.
        ingress: what other members may reach in the sandbox, if their own policies let them: rules are read with the
            member as target and the sandbox's port. None: everything.
        dns: how names are resolved.
        limits: of bandwidth and packets.
        mtu: bytes of the largest packet; 0 lets the network choose.
        addresses: at most one of each version; the network chooses where there is none.
    """

    group: str
    hostname: str
    policy: Policy = field(default=PROFILES["all"])
    publish: tuple[Publish, ...] = ()
    ingress: Policy | None = None
    dns: Dns = Dns()
    limits: Limits = Limits()
    mtu: int = 0
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()

    def needs(self) -> Mapping[NetworkFeature, str]:
        """What the network must be able to do, each with the part of the request that needs it, in a person's words."""
        found: dict[NetworkFeature, str] = {}
        alone = not self.group
        if not alone:
            found[NetworkFeature.GROUPS] = f"the group {self.group!r}"
        rules = [rule for rule in self.policy.rules if not (alone and rule.target is Place.GROUP)]
        for rule in rules:
            feature = NetworkFeature.DOMAINS if isinstance(rule.target, Domain) else NetworkFeature.RULES
            found.setdefault(feature, f"the rule '{rule}'")
        if not rules and self.policy.default is Action.DENY:
            found[NetworkFeature.ISOLATE] = "a policy that allows nothing"
        if self.publish:
            found[NetworkFeature.PUBLISH] = f"the published port {self.publish[0]}"
        if self.ingress is not None:
            found[NetworkFeature.INGRESS] = "a policy for what other members may reach"
        if self.limits:
            found[NetworkFeature.LIMITS] = "limits of bandwidth or packets"
        if self.addresses:
            found[NetworkFeature.ADDRESS] = f"the address {self.addresses[0]}"
        return found


@frozen
class NoNetwork:
    """No network device at all; the guest has only its loopback."""

    @property
    def kind(self) -> AttachmentKind:
        """Always ``AttachmentKind.NONE``."""
        return AttachmentKind.NONE


@frozen
class Tap:
    """A tap device, by name and, when the opener already holds it, by descriptor.

    Attributes:
        name: interface name on the host (at most 15 bytes).
        mac: the guest's address, ``aa:bb:cc:dd:ee:ff``.
        mtu: bytes.
        fd: an open descriptor of the tap queue that the VMM inherits, or None to open by name.
    """

    name: str
    mac: str
    mtu: int = 1500
    fd: int | None = None

    @property
    def kind(self) -> AttachmentKind:
        """Always ``AttachmentKind.TAP``."""
        return AttachmentKind.TAP


@frozen
class UserMode:
    """The VMM's own user-mode network.

    Attributes:
        mac: the guest's address.
        forwards: published ports as (protocol, host address, host port, guest port).
        restrict: whether nothing but the forwards gets through.
    """

    mac: str
    forwards: tuple[tuple[str, str, int, int], ...] = ()
    restrict: bool = False

    @property
    def kind(self) -> AttachmentKind:
        """Always ``AttachmentKind.USER``."""
        return AttachmentKind.USER


Attachment = NoNetwork | Tap | UserMode


@frozen
class GuestNetwork:
    """What the agent configures inside the guest; no DHCP is involved.

    Attributes:
        mac: selects the interface.
        addresses: with prefix lengths.
        gateway4: default IPv4 route, or "".
        gateway6: default IPv6 route, or "".
        mtu: bytes.
        nameservers: written to resolv.conf.
        search: search domains.
        hosts: (address, name) pairs for /etc/hosts.
    """

    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    gateway4: str = ""
    gateway6: str = ""
    mtu: int = 1500
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()


@frozen
class Connection:
    """What a network backend hands out for one sandbox; ``published`` has the ports that were chosen."""

    attachment: Attachment
    guest: GuestNetwork | None = None
    published: tuple[Publish, ...] = ()


@frozen
class Refusal:
    """Packets of a sandbox that were not let through.

    Attributes:
        destination: address.
        protocol: ``tcp``, ``udp``, ``icmp``, or a number in text.
        port: of the destination; 0 where the protocol has none.
        rule: that decided, as its text, or a sentence for what is always denied.
        time: of the last one, seconds since the epoch.
        count: packets that were reported; reports are limited in rate, so there may have been more.
    """

    destination: str
    protocol: str
    port: int
    rule: str
    time: float
    count: int = 1


@frozen
class Traffic:
    """Counters of one sandbox since it was attached, as the sandbox sees them."""

    received_bytes: int = 0
    received_packets: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    denied_packets: int = 0


@frozen
class NetworkStatus:
    """What a network knows of one sandbox.

    Attributes:
        key: of the sandbox.
        request: what was asked.
        connection: what was given; without descriptors.
        traffic: counters, or None where the network does not count.
        resolved: (name, address, seconds left) of the names that its policy opened.
        refusals: the last ones, newest first, at most 100.
        facts: more for people, as (what, value) pairs: the bridge, the uplink, what the uplink limits.
    """

    key: str
    request: NetworkRequest
    connection: Connection
    traffic: Traffic | None = None
    resolved: tuple[tuple[str, str, int], ...] = ()
    refusals: tuple[Refusal, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
