"""What the keeper does to the namespace, one step after another: who is attached, and everything that is made for them.

Synchronous; used by one thread. A member is recorded before anything of it is made, and forgotten after all of it is gone: what a killed
keeper leaves is made whole, or removed, by :meth:`Ground.recover`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from attrs import evolve

from monocore_core.errors import Conflict, MonocoreError
from monocore_core.hostports import same_port
from monocore_core.model.network import Connection, GuestNetwork, NetworkRequest, Publish, Tap, Traffic
from monocore_core.model.policy import Address, Policy
from monocore_net_tap import allocate, links, ruleset
from monocore_net_tap.links import Links
from monocore_net_tap.members import Member, Relay, Scene
from monocore_net_tap.nft import Nft
from monocore_net_tap.options import TapOptions
from monocore_net_tap.records import Records
from monocore_net_tap.uplink import Uplink


class Ground:
    """The namespace that this process is in.

    Args:
        records: of the members.
        uplink: the way out, entered.
        pools: that addresses come from.
        options: as configured.
        home: names the monocore home: addresses of network cards come from it.
        host_addresses: gives the host's addresses, now.
    """

    def __init__(
        self,
        records: Records,
        uplink: Uplink,
        pools: tuple[IPv4Network, IPv6Network],
        options: TapOptions,
        *,
        home: bytes,
        host_addresses: Callable[[], frozenset[Address]],
    ) -> None:
        self._records = records
        self._uplink = uplink
        self._options = options
        self._home = home
        self._host_addresses = host_addresses
        self._links = Links()
        self._nft = Nft()
        self._members: dict[str, Member] = {}
        self._empty = Scene(
            uplink=uplink.interface,
            uplink_addresses=uplink.addresses,
            gateways=(allocate.gateway4(pools[0]), allocate.gateway6(pools[1])),
            pools=pools,
            host_addresses=frozenset(),
            members=(),
            masquerade=uplink.masquerade,
        )
        self._hosts = frozenset[Address]()
        self._learned: dict[str, set[tuple[int, Address]]] = {}
        self._policies: dict[Policy, Policy] = {}
        self._lost: dict[str, list[str]] = {}

    @property
    def gateways(self) -> tuple[Address, Address]:
        """Our own addresses, as sandboxes see them."""
        return self._empty.gateways

    @property
    def members(self) -> dict[str, Member]:
        """By key; never changed, but replaced."""
        return self._members

    @property
    def hosts(self) -> frozenset[Address]:
        """The host's addresses, as the packet filter has them."""
        return self._hosts

    def lost(self, key: str) -> tuple[str, ...]:
        """Why published ports of a member are not there."""
        return tuple(self._lost.get(key, ()))

    def scene(self) -> Scene:
        """Everything that the packet filter knows."""
        return evolve(self._empty, host_addresses=self._hosts, members=tuple(self._members.values()))

    def recover(self) -> None:
        """Make everything that is recorded, and remove what is not.

        A published port that another process has taken meanwhile is lost to its sandbox, and to nobody else: :meth:`lost` tells, a repeat of the
        attachment tries again.
        """
        self._links.begin(self._empty.gateways)
        self._hosts = self._host_addresses() | frozenset(self._uplink.gateways)
        self._members = {member.key: self._sharing(member) for member in self._records.members()}
        wanted = {member.tap for member in self._members.values()}
        for name in links.taps(self._links.names()) - wanted:
            self._links.remove(name)
        for number in set(links.groups(self._links.names())) - {
            member.group for member in self._members.values()
        }:
            self._links.remove(f"g{number}")
        self._nft.run(ruleset.whole(self.scene()))
        for member in self._members.values():
            _close(self._links.attach(self.scene(), member, self.mtu(member.request)))
            for relay in member.relays:
                try:
                    self._publish(member, relay)
                except MonocoreError as error:
                    self._lost.setdefault(member.key, []).append(error.brief)
        self._uplink.members(tuple(self._members.values()))

    def attach(
        self, key: str, request: NetworkRequest, published: tuple[Publish, ...]
    ) -> tuple[Member, int | None]:
        """Connect a sandbox; gives a descriptor of its tap, or None while a VMM has it.

        Raises:
            Conflict: the key is connected with another request; an address, a name or a port is another's.
        """
        known = self._members.get(key)
        if known is not None:
            if known.request != request:
                raise Conflict(f"sandbox {key} is connected already, with another request")
            descriptor = self._make(known)
            self._lost.pop(key, None)
            return known, descriptor
        member = self._sharing(self._new(key, request, published))
        with ExitStack() as undo:
            self._records.add(member)
            undo.callback(self._records.remove, key)
            undo.callback(self._links.detach, member)
            descriptor = self._links.attach(self.scene(), member, self.mtu(request))
            if descriptor is not None:
                undo.callback(_close, descriptor)
            self._nft.run(ruleset.joined(self.scene(), member))
            undo.callback(lambda: self._nft.run(ruleset.left(self.scene(), member)))
            for relay in member.relays:
                undo.callback(self._uplink.unpublish, relay.publish)
                self._publish(member, relay)
            members = {**self._members, key: member}
            self._uplink.members(tuple(members.values()))
            self._members = members
            undo.pop_all()
        return member, descriptor

    def detach(self, key: str) -> None:
        """Disconnect a sandbox; what fails is tried again by a repeat, and the record stays until then."""
        member = self._members.get(key)
        if member is None:
            self._records.remove(key)
            return
        for relay in member.relays:
            self._uplink.unpublish(relay.publish)
        rest = {name: each for name, each in self._members.items() if name != key}
        scene = evolve(self.scene(), members=tuple(rest.values()))
        opened = sorted(self._learned.pop(key, ()), key=str)
        self._nft.run(
            "".join(ruleset.forgotten(member, *each) for each in opened) + ruleset.left(scene, member)
        )
        self._links.detach(member)
        self._members = rest
        self._uplink.members(tuple(rest.values()))
        self._records.remove(key)
        self._lost.pop(key, None)
        used = {each.request.policy for each in rest.values()}
        if member.request.policy not in used:
            self._policies.pop(member.request.policy, None)

    def tidy(self) -> None:
        """Remove the bridges and the names of groups that have no members; off the way of who waits for an answer."""
        used = frozenset(member.group for member in self._members.values())
        for number in set(links.groups(self._links.names())) - used - {0}:
            self._links.remove(f"g{number}")
        self._records.forget_groups(used)

    def refresh_hosts(self) -> None:
        """The host's addresses may have changed."""
        found = self._host_addresses() | frozenset(self._uplink.gateways)
        if found != self._hosts:
            self._hosts = found
            self._nft.run(ruleset.hosts_changed(self.scene()))

    def learn(self, member: Member, rule: int, address: Address, seconds: int) -> None:
        """Open an address that a name of one of the policy's rules has."""
        if member.key in self._members:
            self._nft.run(ruleset.learned(member, rule, address, seconds))
            self._learned.setdefault(member.key, set()).add((rule, address))

    def traffic(self, member: Member) -> Traffic | None:
        """A member's counters."""
        found = self._links.traffic(member)
        if found is None:
            return None
        return evolve(found, denied_packets=ruleset.denied(self._nft, member))

    def connection(self, member: Member, descriptor: int | None = None) -> Connection:
        """What a member is given."""
        request = member.request
        mtu = self.mtu(request)
        four, six = self._empty.gateways
        guest = GuestNetwork(
            mac=member.mac,
            addresses=(IPv4Interface(member.address4), IPv6Interface(member.address6)),
            gateway4=str(four),
            gateway6=str(six),
            mtu=mtu,
            nameservers=(str(four),),
            search=request.dns.search,
        )
        tap = Tap(member.tap, member.mac, mtu, descriptor)
        return Connection(tap, guest, tuple(relay.publish for relay in member.relays))

    def mtu(self, request: NetworkRequest) -> int:
        """Of a sandbox's link."""
        return request.mtu or self._options.mtu

    def close(self) -> None:
        """Close what is open; nothing is removed."""
        self._links.close()
        self._nft.close()

    def _publish(self, member: Member, relay: Relay) -> None:
        to = member.address4 if relay.publish.address.version == 4 else member.address6
        self._uplink.publish(relay.publish, relay.port, to)

    def _make(self, member: Member) -> int | None:
        descriptor = self._links.attach(self.scene(), member, self.mtu(member.request))
        try:
            for relay in member.relays:
                self._publish(member, relay)
        except MonocoreError:
            _close(descriptor)
            raise
        return descriptor

    def _new(self, key: str, request: NetworkRequest, published: tuple[Publish, ...]) -> Member:
        members = self._members.values()
        group = self._records.group(request.group)
        for other in members if group else ():
            if other.group == group and other.request.hostname == request.hostname and request.hostname:
                raise Conflict(
                    f"the name {request.hostname!r} is another sandbox's in the group {request.group!r}",
                    hint="choose another with --hostname",
                )
        four, six = self._empty.pools
        taken4, taken6 = {each.address4 for each in members}, {each.address6 for each in members}
        wanted4, wanted6 = allocate.wanted(request.addresses, four, six, {*taken4, *taken6})
        number = allocate.number({each.number for each in members})
        return Member(
            key=key,
            number=number,
            group=group,
            request=request,
            mac=allocate.mac_of(self._home, key),
            address4=wanted4 or allocate.address4(four, number, taken4),
            address6=wanted6 or allocate.address6(six, number, taken6),
            relays=self._relays(published),
        )

    def _sharing(self, member: Member) -> Member:
        """With the policy of the members that have an equal one: the same value is found at once, an equal one is compared rule by rule."""
        policy = self._policies.setdefault(member.request.policy, member.request.policy)
        return evolve(member, request=evolve(member.request, policy=policy))

    def _relays(self, published: tuple[Publish, ...]) -> tuple[Relay, ...]:
        taken = {relay.port for member in self._members.values() for relay in member.relays}
        found: list[Relay] = []
        for publish in published:
            for member in self._members.values():
                if any(same_port(publish, relay.publish) for relay in member.relays):
                    raise Conflict(
                        f"port {publish.host}/{publish.protocol} of {publish.address} is published by sandbox {member.key}",
                        hint="publish on another port",
                    )
            port = allocate.relay(taken)
            taken.add(port)
            found.append(Relay(publish, port))
        return tuple(found)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
