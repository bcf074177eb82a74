"""A link to the host as the uplink: the host forwards and masquerades. For root alone.

On the host there are one interface, two routes to the sandboxes' pools over it, and one nft table of ours. Its own sysctls aside (forwarding on it,
and ``route_localnet``, by which the host's own programs reach published ports on 127.0.0.1), nothing of the host's is changed: a host that does
not forward by itself uses another uplink. What the policies say is enforced in the other namespace; that packets from there reach
the host itself only for sandboxes that are allowed to is enforced here once more.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from monocore_core.errors import MachineError
from monocore_core.hostports import refusal, require_free
from monocore_core.model.network import Publish
from monocore_core.model.policy import Action, Address, Destination, Policy, Protocol
from monocore_net_tap import allocate, syscalls
from monocore_net_tap.holder import Holder
from monocore_net_tap.members import Member
from monocore_net_tap.netlink import connected, ignoring_absence, index_of, said
from monocore_net_tap.nft import Nft
from monocore_net_tap.ports.forwarder import Forwarder
from monocore_net_tap.uplink import INTERFACE, Act, hosttable
from monocore_net_tap.uplink.hosttable import Forward, HostEnd

_NFT_EVENTS = 7  # NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h
_SETTLE = 0.2


class VethUplink:
    """See :class:`~monocore_net_tap.uplink.Uplink`.

    Args:
        holder: of the namespace.
        end: the host's end.
        resolvers: DNS servers of the host.
    """

    kind = "veth"
    interface = INTERFACE
    masquerade = False

    def __init__(self, holder: Holder, end: HostEnd, resolvers: tuple[str, ...]) -> None:
        self._end = end
        self._host4, own4 = allocate.uplink4(end.pool4)
        self._host6, own6 = allocate.uplink6(end.pool6)
        self.addresses: tuple[Address, ...] = (own4, own6)
        self.gateways: tuple[Address, ...] = (self._host4, self._host6)
        self.resolvers = resolvers
        self.facts: tuple[tuple[str, str], ...] = (("uplink", f"veth {end.interface}"),)
        self._forwards: dict[Publish, tuple[int, socket.socket | None]] = {}
        self._trusted: frozenset[Address] = frozenset()
        self._ports = Forwarder()
        self._host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._own = -1
        self._closed = False
        self._nft = Nft()
        self._events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, syscalls.NETLINK_NETFILTER
        )
        try:
            self._events.bind((0, 1 << (_NFT_EVENTS - 1)))
            self._links(holder)
            self._load()
        except BaseException:
            self.close()
            raise

    def enter(self) -> None:
        """See the protocol."""
        self._ports.enter()
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with said("set its end of the uplink up"), connected() as ip:
            index = socket.if_nametoindex(INTERFACE)
            ip.link("set", index=index, state="up")
            for address, gateway, length in zip(self.addresses, self.gateways, (30, 126), strict=True):
                ip.addr("replace", index=index, address=str(address), prefixlen=length, flags=0x02)
                ip.route("replace", dst="default", gateway=str(gateway), oif=index, family=_family(gateway))

    def publish(self, publish: Publish, relay: int, to: Address) -> None:
        """See the protocol. The port is held by a socket of ours that never listens, so that nobody else takes it.

        Or, where the host's ``::1`` is meant as well, by one that does: IPv6 has no ``route_localnet``, and no packet from there is ever forwarded.
        """
        if publish in self._forwards:
            return
        with self._on_host():
            require_free(publish)
        near = publish.address.version == 6 and (
            publish.address.is_unspecified or publish.address.is_loopback
        )
        kept = None if near else self._hold(publish)
        try:
            if near:
                self._ports.publish(publish, to)
            self._forwards[publish] = (relay, kept)
            self._load()
        except BaseException:
            self._forwards.pop(publish, None)
            self._let_go(publish, kept)
            raise

    def unpublish(self, publish: Publish) -> None:
        """See the protocol."""
        found = self._forwards.pop(publish, None)
        if found is not None:
            self._let_go(publish, found[1])
            self._load()

    def _hold(self, publish: Publish) -> socket.socket:
        kind = socket.SOCK_DGRAM if publish.protocol is Protocol.UDP else socket.SOCK_STREAM
        with self._on_host():
            kept = socket.socket(_family(publish.address), kind)
            try:
                if publish.address.version == 6:
                    kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                kept.bind((str(publish.address), publish.host))
            except OSError as error:
                kept.close()
                raise refusal(publish, publish.host, error) from error
        return kept

    def _let_go(self, publish: Publish, kept: socket.socket | None) -> None:
        if kept is not None:
            kept.close()
        self._ports.unpublish(publish)

    def members(self, members: tuple[Member, ...]) -> None:
        """See the protocol: those that may reach the host at all are let in by the host's table, too."""
        verdicts = {
            policy: _may_reach_host(policy, self.gateways)
            for policy in {member.request.policy for member in members}
        }
        trusted = frozenset(
            address
            for member in members
            if verdicts[member.request.policy]
            for address in (member.address4, member.address6)
        )
        added, removed = trusted - self._trusted, self._trusted - trusted
        self._trusted = trusted
        if not (added or removed):
            return
        try:
            self._nft.run(hosttable.trust(self._end, added, removed))
        except MachineError:  # somebody has flushed the table, or taken something out of it
            self._load()

    def watch(self, ended: Callable[[], None], act: Act) -> None:
        """See the protocol. The table is put back when somebody has flushed it (a firewall's reload)."""
        loop = asyncio.get_running_loop()
        pending: list[asyncio.TimerHandle] = []

        def look() -> None:
            pending.clear()
            act(self._put_back)

        def changed() -> None:
            with suppress(OSError):
                while self._events.recv(65536):
                    pass
            if not pending:
                pending.append(loop.call_later(_SETTLE, look))

        self._ports.watch(ended)  # a link does not fail by itself
        loop.add_reader(self._events, changed)

    def _put_back(self) -> None:
        if not self._closed and not self._nft.has_table("inet", self._end.table):
            self._load()

    def close(self) -> None:
        """See the protocol."""
        self._closed = True  # a look at the table may be on its way, and would put it back
        with suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._events)
        self._events.close()
        for _, kept in self._forwards.values():
            if kept is not None:
                kept.close()
        self._ports.close()
        with suppress(MachineError):
            self._nft.run(hosttable.removed(self._end))
        with self._on_host(), suppress(MachineError):
            _remove(self._end.interface)
        os.close(self._host)
        if self._own >= 0:
            os.close(self._own)

    def _load(self) -> None:
        forwards = tuple(Forward(publish, relay) for publish, (relay, _) in self._forwards.items())
        self._nft.run(hosttable.whole(self._end, forwards, self._trusted))

    def _links(self, holder: Holder) -> None:
        end = self._end
        four, six = allocate.uplink4(end.pool4)[1], allocate.uplink6(end.pool6)[1]
        with said("make the uplink on the host"), connected() as ip:
            _remove(end.interface)
            ip.link(
                "add", ifname=end.interface, kind="veth", peer={"ifname": INTERFACE, "net_ns_pid": holder.pid}
            )
            index = socket.if_nametoindex(end.interface)
            for name, value in hosttable.sysctls(end.interface):
                with suppress(FileNotFoundError):
                    Path("/proc/sys", name).write_text(value)
            ip.addr("replace", index=index, address=str(self._host4), prefixlen=30)
            ip.addr("replace", index=index, address=str(self._host6), prefixlen=126, flags=0x02)
            ip.link("set", index=index, state="up")
            ip.route("replace", dst=str(end.pool4), gateway=str(four), oif=index, family=socket.AF_INET)
            ip.route("replace", dst=str(end.pool6), gateway=str(six), oif=index, family=socket.AF_INET6)

    @contextmanager
    def _on_host(self) -> Generator[None]:
        """In the host's network namespace, this thread alone, and never across a suspension."""
        if self._own < 0:
            yield
            return
        syscalls.setns(self._host, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(self._own, syscalls.CLONE_NEWNET)


def _remove(interface: str) -> None:
    index = index_of(interface)
    if index:
        with said(f"remove {interface}"), connected() as ip:
            ignoring_absence(partial(ip.link, "del", index=index))


def _may_reach_host(policy: Policy, host: tuple[Address, ...]) -> bool:
    """Whether the policy lets anything through to an address of the host, as far as its rules alone can tell."""
    if any(rule.action is Action.ALLOW for rule in policy.rules):
        targets = [
            rule for rule in policy.rules if rule.action is Action.ALLOW and str(rule.target) != "group"
        ]
        if targets:
            return True
    return any(
        policy.decide(Destination(address, Protocol.TCP, port=1, host=True))[0] is Action.ALLOW
        for address in host
    )


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
