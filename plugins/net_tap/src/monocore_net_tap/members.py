"""Who is attached, and to what: the values that everything else here is made from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from attrs import frozen

from monocore_core.model.network import NetworkRequest, Publish
from monocore_core.model.policy import Address


@frozen
class Relay:
    """A published port, and the port of the uplink's address at which the uplink delivers it."""

    publish: Publish
    port: int


@frozen
class Member:
    """An attached sandbox.

    Attributes:
        key: of the sandbox.
        number: names and addresses come from it.
        group: number of its bridge; 0 is the bridge of those who are alone, and no group.
        request: what was asked.
        mac: of the guest's network card.
        address4: of the guest.
        address6: of the guest, beside its link-local one.
        relays: of its published ports.
    """

    key: str
    number: int
    group: int
    request: NetworkRequest
    mac: str
    address4: IPv4Address
    address6: IPv6Address
    relays: tuple[Relay, ...] = ()

    @property
    def tap(self) -> str:
        """Name of its interface in our namespace."""
        return f"t{self.number}"

    @property
    def bridge(self) -> str:
        """Name of its group's bridge."""
        return f"g{self.group}"

    @property
    def link_local(self) -> IPv6Address:
        """The address that the guest's kernel makes of its MAC (EUI-64, RFC 4291 appendix A)."""
        first, *rest = (int(part, 16) for part in self.mac.split(":"))
        identity = bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]))
        return IPv6Address(b"\xfe\x80" + bytes(6) + identity)


@frozen
class Scene:
    """Everything that the packet filter is made from.

    Attributes:
        uplink: interface of the way out, "" when there is none.
        uplink_addresses: of ours on it.
        gateways: our addresses towards sandboxes, one of each version.
        pools: that their addresses come from.
        host_addresses: every address that is the host's.
        members: in any order.
        masquerade: whether what leaves bears the uplink's address.
    """

    uplink: str
    uplink_addresses: tuple[Address, ...]
    gateways: tuple[IPv4Address, IPv6Address]
    pools: tuple[IPv4Network, IPv6Network]
    host_addresses: frozenset[Address]
    members: tuple[Member, ...]
    masquerade: bool
